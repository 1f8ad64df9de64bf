"""Memory of a training, counted from the sizes of its tensors. Standard library only: `submit` shows it beforehand."""

from __future__ import annotations

from sweepwise.core.schema import ExpectedMemory, Memory
from tdmpc.config import TrainConfig
from tdmpc.network_shapes import Shape, shapes
from tdmpc.tasks import sizes

FIRST_ROWS = 4096  # initial size of a replay buffer, which doubles when it is full
_FLOAT = 4  # bytes
_MB = 2**20
# Measured, see docs/speed.md ("Memory"). The process: the interpreter with torch, dm_control and pyarrow; on a GPU what
# it takes of the GPU's memory. The dog's model is larger than those of all other tasks, and takes more to load.
_PROCESS, _GPU_PROCESS, _DOG_LOADED = 370 * _MB, 600 * _MB, 350 * _MB
_ENVIRONMENT, _DOG_ENVIRONMENT = 12.3 * _MB, 75 * _MB
# Copies of the trained numbers: the gradient, two moments of Adam, and the gradients of single losses that are logged.
_COPIES = 5
# Copies of a layer's outputs that are kept for the gradient: by the C kernels, and by torch operations.
_KEPT, _KEPT_BY_TORCH = 2.5, 4.0


def expected(config: TrainConfig) -> ExpectedMemory:
    """Of a whole training, whose replay buffer is full at its end."""
    obs_size, action_size = sizes(config.task)
    named = shapes(config, obs_size, action_size)
    trained = sum(shape.numbers for shape in named.values())
    averaged = sum(named[name].numbers for name in ("value", "aux") if name in named)
    averaged += named["policy"].numbers if config.policy_ema_enabled else 0
    numbers = (1 + _COPIES) * trained + averaged + _replay(config, obs_size, action_size)
    outputs = _outputs(config, named)
    dog = config.task.startswith("dog-")
    environments = (1 + config.eval_episodes) * (_DOG_ENVIRONMENT if dog else _ENVIRONMENT)
    return ExpectedMemory(
        Memory(_PROCESS + dog * _DOG_LOADED, _FLOAT * (numbers + _KEPT * outputs) + environments),
        Memory(_GPU_PROCESS, _FLOAT * (numbers + _KEPT_BY_TORCH * outputs)),
    )


def _outputs(config: TrainConfig, named: dict[str, Shape]) -> int:
    """Outputs of layers that are kept for a gradient: of the model's losses or of the policy's, whichever are more."""
    c = config
    windows = c.horizon * c.batch_size
    starts = windows + c.batch_size
    imagined = c.imagination_horizon - 1 if c.imagines else 0
    states = starts * (1 + imagined * c.num_rollouts)
    along_rollouts = c.batch_size * (1 + (c.horizon - 1) * c.planner_num_dynamics_heads)
    of_model = {"encoder": starts, "dynamics": windows, "reward": along_rollouts, "value": states, "aux": states}
    of_policy = {"policy": starts, "dynamics": starts, "reward": starts, "value": starts * c.planner_num_dynamics_heads}
    return max(
        sum(shape.outputs(rows[name]) for name, shape in named.items() if name in rows)
        for rows in (of_model, of_policy)
    )


def _replay(config: TrainConfig, obs_size: int, action_size: int) -> float:
    """Numbers of the replay buffer at the end of training, and of the buffer with all validation episodes."""
    c = config
    episode = c.episode_steps + 1  # rows: one more than transitions
    steps = c.steps + c.steps // c.episode_steps + 1
    evaluations = c.steps // c.eval_freq
    validation = evaluations * 2 * c.eval_episodes * episode
    return (obs_size + action_size + 2) * (storage_rows(steps) + storage_rows(validation))


def storage_rows(rows: int) -> int:
    """Rows of a buffer that holds `rows`."""
    size = FIRST_ROWS
    while size < rows:
        size *= 2
    return size
