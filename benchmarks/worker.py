"""One contender in a process of its own: sets up, then answers commands on stdin with one line of JSON each.

run     run once, report seconds                        floor   run the bare network, report seconds
count   run once, report floating-point operations      result PATH   save the maps of the last run
memory  report the peak of resident memory, in MiB
"""

import json
import resource
import sys
from time import perf_counter

import numpy as np
import torch
from races import RACES
from torch.utils.flop_counter import FlopCounterMode


def main() -> None:
    case = RACES[sys.argv[1]]
    torch.set_num_threads(int(sys.argv[3]))
    module, images = case.network(), case.images()
    run = case.contenders[sys.argv[2]](module, images)
    maps = None
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        answer: object = None
        if command == "run":
            start = perf_counter()
            maps = run()
            answer = perf_counter() - start
        elif command == "floor":
            with torch.no_grad():
                start = perf_counter()
                module(images[:1].expand(case.floor, -1, -1, -1))
                answer = perf_counter() - start
        elif command == "count":
            with FlopCounterMode(display=False) as one, torch.no_grad():
                module(images[:1])
            with FlopCounterMode(display=False) as all_of_it:
                run()
            answer = all_of_it.get_total_flops() / one.get_total_flops()
        elif command == "result":
            np.save(argument, maps)
        elif command == "memory":
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
