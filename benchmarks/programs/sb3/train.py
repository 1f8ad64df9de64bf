"""SAC of stable-baselines3 on a task of Gymnasium. It logs to CSV and TensorBoard, and goes on from its checkpoint."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--env", default="Pendulum-v1")
parser.add_argument("--learning-rate", type=float, default=3e-4)
parser.add_argument("--gamma", type=float, default=0.99)
parser.add_argument("--net-arch", type=int, nargs="+", default=[64, 64])
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("out"))
parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
args = parser.parse_args()
checkpoints = args.out / "checkpoints"


class Saver(BaseCallback):
    """A checkpoint every 500 steps, and one on SIGTERM."""

    def _on_training_start(self) -> None:
        self.told_to_stop = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.told_to_stop = True

    def _on_step(self) -> bool:
        if self.told_to_stop or self.num_timesteps % 500 == 0:
            self._save()
        return not self.told_to_stop

    def _save(self) -> None:
        # Under another name until it is whole: the program may be killed while it writes.
        part = checkpoints / f"part-{self.num_timesteps}-{os.getpid()}"
        part.mkdir(parents=True)
        self.model.save(part / "model.zip")
        self.model.save_replay_buffer(part / "replay_buffer.pkl")
        if not (whole := checkpoints / f"step-{self.num_timesteps:08d}").exists():
            part.rename(whole)


env = make_vec_env(args.env, seed=args.seed)
if args.resume:
    newest = max(checkpoints.glob("step-*"))
    model = SAC.load(newest / "model.zip", env=env)
    model.load_replay_buffer(newest / "replay_buffer.pkl")
else:
    model = SAC(
        "MlpPolicy", env, learning_rate=args.learning_rate, gamma=args.gamma, seed=args.seed, device="cpu",
        buffer_size=10_000, batch_size=64, policy_kwargs={"net_arch": args.net_arch},
    )  # fmt: skip
# A folder for each start: the logger of stable-baselines3 empties progress.csv when it opens it.
logs = args.out / "logs" / f"{model.num_timesteps:08d}-{os.getpid()}"
model.set_logger(configure(str(logs), ["csv", "tensorboard"]))
evaluation = EvalCallback(make_vec_env(args.env, seed=1000 + args.seed), n_eval_episodes=2, eval_freq=200, verbose=0)
evaluation.n_calls = model.num_timesteps  # at the same steps after a resume
model.learn(args.steps - model.num_timesteps, callback=[evaluation, Saver()], log_interval=1, reset_num_timesteps=False)
