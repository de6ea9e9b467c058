"""``python -m seewhy``: the command line, also where the folder of the script ``seewhy`` is not on the path."""

from seewhy.app.cli.main import main

main()
