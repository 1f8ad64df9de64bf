"""One start of a run, for `speed.py --start`: prints [part, processor seconds so far] as JSON, from the start of the
interpreter to the first update and the first planned action.

    python benchmarks/start.py OPTIONS THREADS                      options as JSON
"""

# ruff: noqa: E402, F401, I001
import json
import os
import sys
import time

stamps: list[tuple[str, float]] = []


def done(part: str) -> None:
    stamps.append((part, time.process_time()))


done("python")
import torch

done("import torch")
os.environ.setdefault("MUJOCO_GL", "disabled")
import mujoco

done("import mujoco")
from dm_control import suite

done("import dm_control's suite")
from tdmpc.accel import kernels
from tdmpc.agent.agent import Agent
from tdmpc.config import TrainConfig
from tdmpc.training.environment import Env
import tdmpc.api
import speed

done("import the agent and this benchmark")
config = TrainConfig().with_overrides(json.loads(sys.argv[1]))
torch.set_num_threads(int(sys.argv[2]))
Env(config.task, config.action_repeat, 0).reset()
done("an environment and its first state")
kernels.compiled()
done("load the kernels")
work = speed._work(config, 1)
done("networks and optimisers, with a second environment")
work["action"]()
done("first planned action")
work["update"]()
done("first update")
print(json.dumps(stamps))
