// Search in pages that are opened as files. A browser starts no worker from a file, so a hidden frame runs the worker's script.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super()
    const frame = document.createElement("iframe")
    frame.hidden = true
    document.body.append(frame)
    this.inside = frame.contentWindow
    this.inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
    this.ready = new Promise(done => {
      const script = this.inside.document.createElement("script")
      script.src = new URL(url, document.baseURI)
      script.onload = done
      this.inside.document.body.append(script)
    })
  }
  postMessage(data) {
    this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })))
  }
}
window.IFrameWorker = IFrameWorker
if (location.protocol === "file:") window.Worker = IFrameWorker
