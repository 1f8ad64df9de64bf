"""Whole runs on a real task: side by side, interrupted, killed, diverged, extended, superseded."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import torch

from sweepwise.core import shard_name
from sweepwise.core.shards import read_shard
from tdmpc.accel import kernels
from tdmpc.agent import agent as agent_module
from tdmpc.api import DeviceError, Evaluation, NoWeights, evaluate, film, train
from tdmpc.config import ConfigError
from tdmpc.rng import derive_seed
from tdmpc.training.environment import Env, SimulationError


@pytest.mark.parametrize("changes", [{"imagination_horizon": 2}, {"episodic": True}])
def test_seeds_side_by_side_equal_seeds_alone(tiny, trained, equal_weights, changes):
    config = tiny(**changes)
    packed, alone = trained("packed"), trained("alone")
    packed.train(config, seeds=(1, 2, 3))
    for seed in (1, 2, 3):
        alone.train(config, seeds=(seed,))
        assert equal_weights(packed.weights(seed), alone.weights(seed))
        assert packed.rows(seed) == alone.rows(seed)
    assert not equal_weights(packed.weights(1), packed.weights(2))


@pytest.mark.parametrize(("ticks", "step"), [(3, 3), (25, 20), (31, 20), (47, 24), (60, 30)])
def test_resumed_equals_uninterrupted(tiny, trained, equal_weights, ticks, step):
    """Stopped in the seed phase, within the updates on the seed data, and after them."""
    config = tiny(policy_ema_enabled=True, pi_update_freq=2)
    whole, parts = trained("whole"), trained("parts")
    whole.train(config, seeds=(1, 2))
    polls = iter(range(ticks))
    outcomes = parts.train(config, seeds=(1, 2), should_stop=lambda: next(polls, None) is None)
    assert {o.state for o in outcomes} == {"interrupted"}
    outcomes = parts.train(config, seeds=(1, 2), tag="a002")
    assert {o.state for o in outcomes} == {"finished"}
    assert parts.begun(1, "a002") == step
    for seed in (1, 2):
        assert equal_weights(whole.weights(seed), parts.weights(seed))
        assert whole.rows(seed) == parts.rows(seed)


def damage(path, place=0.5):
    """Turn one byte round."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(("file", "place", "begun"), [("*.pt", 0.5, 27), ("replay-*", 0.999, 27), ("replay-*", 0, 0)])
def test_what_is_damaged_falls_back_to_what_is_whole(tiny, trained, equal_weights, file, place, begun):
    """The newest state, the rows that only it names, and rows that the checkpoint before it names as well."""
    config = tiny()
    whole, parts = trained("whole"), trained("parts")
    whole.train(config)
    polls = iter(range(55))
    parts.train(config, should_stop=lambda: next(polls, None) is None, checkpoint_minutes=0)
    damage(max((parts.folder(1) / "checkpoints").glob(file)), place)
    messages = []
    (outcome,) = train([parts.handle(config, 1, "a002", tell=messages.append)], device="cpu", threads=1)
    assert outcome.state == "finished"
    assert parts.begun(1, "a002") == begun
    damaged = [message for message in messages if not message.startswith("step ")]
    assert len(damaged) == (1 if begun else 3)  # every checkpoint that was passed over, and that none is left
    assert equal_weights(whole.weights(1), parts.weights(1))
    assert whole.rows(1) == parts.rows(1)
    assert [p.name[5:14] for p in (parts.folder(1) / "checkpoints").glob("*.pt")] == ["000000040"]


def test_runs_stopped_at_different_steps_resume_in_one_job(tiny, trained, equal_weights):
    config = tiny()
    whole, parts = trained("whole"), trained("parts")
    whole.train(config, seeds=(1, 2))
    for seed, ticks in ((1, 22), (2, 50)):
        polls = iter(range(ticks))
        parts.train(config, seeds=(seed,), should_stop=lambda polls=polls: next(polls, None) is None)
    outcomes = parts.train(config, seeds=(1, 2), tag="a002")
    assert [o.state for o in outcomes] == ["finished", "finished"]
    for seed in (1, 2):
        assert equal_weights(whole.weights(seed), parts.weights(seed))
    # seed 1 stood among the updates on the seed data, seed 2 past them
    assert [parts.begun(seed, "a002") for seed in (1, 2)] == [20, 25]


def test_more_steps_continue_a_finished_run_exactly(tiny, trained, equal_weights):
    unscheduled = {"detach_encoder_ratio": 0, "end_entropy_coeff": 1e-4}
    short, long = tiny(**unscheduled), tiny(**unscheduled, steps=60)
    assert long.steps_are_extendable
    whole, parts = trained("whole"), trained("parts")
    whole.train(long)
    parts.train(short)
    parts.train(long, tag="a002")
    assert equal_weights(whole.weights(1), parts.weights(1))
    training = {"train", "episode", "validation"}  # the short run's final evaluation has more episodes
    assert [r for r in whole.rows(1) if r["kind"] in training] == [r for r in parts.rows(1) if r["kind"] in training]


def test_the_deterministic_mode_changes_nothing_on_a_cpu(tiny, trained, equal_weights, monkeypatch):
    config, strict, plain = tiny(), trained("strict"), trained("plain")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    held = []
    watch = lambda: held.append(torch.are_deterministic_algorithms_enabled())  # noqa: E731
    strict.train(config, deterministic=True, should_stop=watch)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert all(held)
    held.clear()
    plain.train(config, should_stop=watch)
    assert not any(held)
    assert equal_weights(strict.weights(1), plain.weights(1))
    assert strict.rows(1) == plain.rows(1)


@pytest.mark.parametrize(
    ("changes", "backend"),
    [
        # Differentiated ahead, as by torch's own compiler. That takes most of the time, so only here.
        ({"episodic": True, "policy_ema_enabled": True, "imagination_horizon": 2}, "aot_eager"),
        ({"ac_source": "replay_true", "aux_value_source": "replay_rollout", "multi_gamma_head": "separate"}, "eager"),
    ],
)
def test_compiled_updates_are_the_same_up_to_rounding(tiny, trained, monkeypatch, changes, backend):
    """As a whole graph, which is what may fail; what is made of it is torch's."""
    from torch._dynamo import lookup_backend

    graphs = []

    def as_it_is(graph, inputs):
        graphs.append(graph)
        return lookup_backend(backend)(graph, inputs)

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=as_it_is))
    config = tiny(steps=23, detach_encoder_ratio=0, **changes)
    compiled, eager = trained("compiled"), trained("eager")
    compiled.train(config, compile=True)
    assert len(graphs) == 3  # the losses', the policy's and the planner's scores, each once
    eager.train(config)
    assert len(graphs) == 3
    ours, theirs = (torch.cat([w.flatten() for w in runs.weights(1).values()]) for runs in (compiled, eager))
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_every_evaluation_is_a_line_of_the_log(tiny, trained):
    config, messages, runs = tiny(), [], trained("told")
    train([runs.handle(config, 1, tell=messages.append)], device="cpu", threads=1)
    evaluations = sorted((row["step"], row["eval_return_planner"]) for row in runs.rows(1) if row["kind"] == "eval")
    told = [line.partition(" steps/s")[0].rpartition(", ")[0] or line for line in messages if line.startswith("step ")]
    assert len(evaluations) > 1
    assert [line.partition(":")[0] for line in told] == [f"step {step} of {config.steps}" for step, _ in evaluations]
    returns = [float(line.partition("return ")[2].replace(",", "")) for line in told]
    assert returns == pytest.approx([value for _, value in evaluations], rel=1e-3)


def test_training_without_the_kernels_is_told_once_unless_asked_for(tiny, trained, monkeypatch):
    config, messages = tiny(steps=23), []
    runs = trained("told")
    handles = [runs.handle(config, seed, tell=messages.append) for seed in (1, 2)]
    for reason in ("cc: no header", ""):
        monkeypatch.setattr(kernels, "_load", lambda reason=reason: reason)
        train(handles, device="cpu", threads=1, should_stop=lambda: True)
    assert messages == ["trains without the C kernels, up to three times as long: cc: no header"]


def test_a_diverged_seed_stops_alone(tiny, trained, equal_weights, monkeypatch):
    config = tiny()
    beside, alone = trained("beside"), trained("alone")
    alone.train(config, seeds=(2,))
    original = agent_module.Agent.update

    def poisoned(self, batch, schedule, draws, log=False):
        if self.update_index == 25 and self.scale.shape[0] == 2:
            with torch.no_grad():
                self.model.reward.parts()[0].weight[0].fill_(float("nan"))
        return original(self, batch, schedule, draws, log)

    monkeypatch.setattr(agent_module.Agent, "update", poisoned)
    outcomes = beside.train(config, seeds=(1, 2))
    assert [o.state for o in outcomes] == ["diverged", "finished"]
    assert outcomes[0].step < config.steps
    assert equal_weights(beside.weights(2), alone.weights(2))
    assert beside.rows(2) == alone.rows(2)
    assert [r["event"] for r in beside.rows(1) if r["kind"] == "event"][-1] == "diverged"
    assert not (beside.folder(1) / "checkpoints").exists()  # a diverged state is never saved


def test_a_superseded_run_stops_and_its_sibling_goes_on(tiny, trained):
    config = tiny()
    runs = trained("runs")
    handles = [runs.handle(config, 1, guard=lambda: False), runs.handle(config, 2)]
    outcomes = train(handles, device="cpu", threads=1, checkpoint_minutes=0)
    assert [o.state for o in outcomes] == ["superseded", "finished"]
    assert list((runs.folder(1) / "metrics").iterdir()) == []


def test_measuring_changes_nothing_in_training(tiny, trained, equal_weights):
    often, rarely = trained("often"), trained("rarely")
    often.train(tiny(log_freq=1, eval_freq=3, eval_episodes=3))
    rarely.train(tiny(log_freq=40, eval_freq=1000, eval_episodes=1))
    assert equal_weights(often.weights(1), rarely.weights(1))


def test_a_run_writes_every_kind_of_row_and_the_schedule(tiny, trained):
    config = tiny()
    runs = trained("runs")
    runs.train(config)
    rows = runs.rows(1)
    assert {r["kind"] for r in rows} == {"train", "episode", "eval", "validation", "event"}
    assert {(r["event"], r["step"]) for r in rows if r["kind"] == "event"} == {
        ("seed_phase_end", 20), ("encoder_freeze", 30), ("entropy_start", 20), ("entropy_end", 40),
    }  # fmt: skip
    final = [r for r in rows if r["kind"] == "eval"][-1]
    assert final["eval_is_final"] == 1
    assert len(final["eval_return_planner_episodes"]) == config.final_eval_episodes
    assert all(r["frames"] == config.action_repeat * r["step"] for r in rows)
    last = [r for r in rows if r["kind"] == "train"][-1]
    assert len(last["aux_value_loss_per_gamma"]) == 2


def test_the_last_shard_of_a_run_and_no_other_says_that_it_ends(tiny, trained):
    config = tiny()
    runs = trained("runs")
    polls = iter(range(55))
    runs.train(config, should_stop=lambda: next(polls, None) is None)
    folder = runs.folder(1) / "metrics"
    assert {shard_name.parse(path.name).end for path in folder.iterdir()} == {None}
    runs.train(config, tag="a002")
    last = shard_name.last(path.name for path in folder.iterdir())
    assert (last.tag, last.end) == ("a002", 40)
    rows = read_shard(folder / str(last)).to_pylist()
    assert [row["eval_is_final"] for row in rows if row["kind"] == "eval"] == [1.0]
    assert max(row["step"] for row in rows if row["kind"] == "train") == 40


def test_frames_are_control_steps_where_the_repeat_does_not_divide_an_episode(tiny, trained):
    """Episodes of 20 control steps: seven agent steps of three, the last of two."""
    runs, resumed = trained("runs"), trained("resumed")
    config = tiny(action_repeat=3, steps=42)
    runs.train(config)
    frames = {r["step"]: r["frames"] for r in runs.rows(1)}
    assert all(frames[step] == 20 * (step // 7) + 3 * (step % 7) for step in frames)
    assert frames[42] == 120
    polls = iter(range(60))
    resumed.train(config, should_stop=lambda: next(polls, None) is None)
    resumed.train(config, tag="a002")
    assert {r["step"]: r["frames"] for r in resumed.rows(1)} == frames


@pytest.fixture
def fragile(monkeypatch):
    """The real task; the physics of a seed becomes invalid in the fifth step of an episode that begins after `arm`."""
    original_step, original_reset, armed = Env.step, Env.reset, {}

    def step(self, action):
        if getattr(self, "breaks", False) and len(self._actions) == 4:
            self._env.physics.data.qpos[0] = np.nan
        return original_step(self, action)

    def reset(self):
        obs = original_reset(self)
        self.breaks = armed.get("when", lambda env: False)(self)
        return obs

    monkeypatch.setattr(Env, "step", step)
    monkeypatch.setattr(Env, "reset", reset)
    return armed


def test_a_simulation_that_fails_ends_its_seed_as_diverged_and_no_other(tiny, trained, fragile, equal_weights):
    config = tiny()
    alone = trained("alone")
    alone.train(config, seeds=(2,))
    training = {}

    def second_episode_of_the_first_seed(env):
        training.setdefault("env", env)  # the first that is reset is the training environment of seed 1
        training["episodes"] = training.get("episodes", 0) + (env is training["env"])
        return env is training["env"] and training["episodes"] == 2

    fragile["when"] = second_episode_of_the_first_seed
    beside = trained("beside")
    failed, finished = beside.train(config, seeds=(1, 2))
    assert (failed.state, failed.step, finished.state) == ("diverged", 15, "finished")
    assert failed.message.startswith("the physics became invalid: ")
    assert [r["step"] for r in beside.rows(1) if r.get("event") == "diverged"] == [15]
    assert equal_weights(beside.weights(2), alone.weights(2))
    assert beside.rows(2) == alone.rows(2)


def test_a_simulation_that_fails_in_an_evaluation_ends_its_seed_as_diverged(tiny, trained, fragile, equal_weights):
    config = tiny()
    alone, beside = trained("alone"), trained("beside")
    alone.train(config, seeds=(1, 2), snapshots=4)
    first_of_seed_1 = derive_seed(1, "eval episode", 30, 0)
    expected = np.random.RandomState(first_of_seed_1 % 2**32).get_state()[1]
    fragile["when"] = lambda env: bool((env._random_at_reset[1] == expected).all())
    failed, finished = beside.train(config, seeds=(1, 2))
    assert (failed.state, failed.step, finished.state) == ("diverged", 30, "finished")
    assert failed.message.startswith("in an evaluation, the physics became invalid: ")
    assert not [r for r in beside.rows(1) if r["kind"] == "eval"]
    assert equal_weights(beside.weights(2), alone.weights(2))
    assert beside.rows(2) == alone.rows(2)
    given = {"planners": ("policy",), "episodes": 1, "device": "cpu", "threads": 1}
    with pytest.raises(SimulationError, match="episode 0: the physics became invalid"):
        list(evaluate(config, 1, alone.folder(1), at=30, **given))


@pytest.fixture
def short_lived(monkeypatch):
    """The real task, whose episodes end for good after four steps."""
    original = Env.step

    def step(self, action):
        found = original(self, action)
        over = len(self._actions) == 4
        return found._replace(last=found.last or over, terminated=over)

    monkeypatch.setattr(Env, "step", step)


def test_a_task_that_terminates(tiny, trained, short_lived, equal_weights):
    config = tiny(episodic=True)
    whole, parts = trained("whole"), trained("parts")
    whole.train(config, seeds=(1, 2))
    assert {r["episode_length"] for r in whole.rows(1) if r["kind"] == "episode"} == {4}
    last = [r for r in whole.rows(1) if r["kind"] == "train"][-1]
    assert last["termination_loss"] > 0
    assert "validation/termination_loss" in [r for r in whole.rows(1) if r["kind"] == "validation"][-1]
    polls = iter(range(51))
    parts.train(config, seeds=(1, 2), should_stop=lambda: next(polls, None) is None)
    parts.train(config, seeds=(1, 2), tag="a002")
    for seed in (1, 2):
        assert equal_weights(whole.weights(seed), parts.weights(seed))


def test_a_task_that_terminates_unannounced_is_an_error_in_one_line(tiny, trained, short_lived):
    with pytest.raises(ConfigError, match="its episodes terminate; set episodic=true"):
        trained("runs").train(tiny())


def test_policy_metrics_are_absent_when_no_policy_update_happened(tiny, trained):
    runs = trained("runs")
    runs.train(tiny(log_freq=1, pi_update_freq=4))
    with_policy = {r["update"] for r in runs.rows(1) if r["kind"] == "train" and "pi_loss" in r}
    # update_index starts at 0 and counts the 20 updates on the seed data: 20, 24, ... are due; a row is
    # written after the update, when the count stands one higher
    assert with_policy == {20} | {u for u in range(21, 41) if (u - 1) % 4 == 0}


def test_a_gpu_that_was_asked_for_is_never_replaced_by_the_cpu(tiny, trained, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="requested a GPU"):
        train([trained("runs").handle(tiny(), 1)], device="cuda", threads=1)
    with pytest.raises(DeviceError, match="CUDA graphs need a GPU"):
        train([trained("runs").handle(tiny(), 1)], device="cpu", threads=1, cuda_graphs=True)


def test_streams_of_a_seed_depend_on_seed_and_purpose_alone():
    seeds = {derive_seed(s, p) for s in range(20) for p in ("plan", "update", "replay")}
    assert len(seeds) == 60
    assert derive_seed(1, "plan") == 1750145250277776609


def test_a_snapshot_plays_the_evaluation_that_training_logged(tiny, trained):
    config = tiny(policy_ema_enabled=True)
    runs = trained("runs")
    runs.train(config, seeds=(1, 2), snapshots=4)
    assert len(list((runs.folder(2) / "snapshots").iterdir())) == 4
    logged = {r["step"]: r for r in runs.rows(2) if r["kind"] == "eval"}
    found = list(
        evaluate(config, 2, runs.folder(2), at=30, planners=("eval", "policy"), episodes=2, device="cpu", threads=1)
    )
    assert [e.step for e in found] == [30, 30]
    assert list(found[0].returns) == logged[30]["eval_return_planner_episodes"]
    assert list(found[1].returns) == logged[30]["eval_return_policy_episodes"]
    (newest,) = evaluate(config, 2, runs.folder(2), at=None, planners=("train",), episodes=3, device="cpu", threads=1)
    assert (newest.step, newest.planner, len(newest.returns)) == (40, "train", 3)
    assert list(newest.returns) != logged[40]["eval_return_planner_episodes"]


def test_a_step_without_a_snapshot_names_those_there_are(tiny, trained):
    config = tiny()
    runs = trained("runs")
    runs.train(config, snapshots=2)
    (runs.folder(1) / "snapshots" / "step-mine.pt").touch()  # a foreign file is no snapshot
    given = {"planners": ("policy",), "episodes": 1, "device": "cpu", "threads": 1}
    with pytest.raises(NoWeights, match="no snapshot of step 25; there are 20, 40"):
        list(evaluate(config, 1, runs.folder(1), at=25, **given))
    (runs.folder(1) / "snapshots" / "step-000000040.pt").write_bytes(b"half")
    with pytest.raises(NoWeights, match="cannot be read"):
        list(evaluate(config, 1, runs.folder(1), at=None, **given))
    path = runs.folder(1) / "snapshots" / "step-000000020.pt"
    whole = torch.load(path, weights_only=True)
    other = {m: {k: v[:1] for k, v in tensors.items()} for m, tensors in whole["weights"].items()}
    changed = {m: {k: v + 1e-3 for k, v in tensors.items()} for m, tensors in whole["weights"].items()}
    for content, words in [
        ({"format": 1, "weights": {}}, "has format 1, this program reads"),
        ([1, 2], "is not a snapshot of this program"),
        ({}, "is not a snapshot of this program"),
        ({"format": 3}, "holds no weights"),
        ({"format": 3, "weights": {"encoder": [1]}}, "holds no weights"),
        ({"format": 3, "weights": {"encoder": {"w": torch.eye(2).to_sparse()}}}, "cannot be read"),
        ({**whole, "weights": changed}, "its checksum differs"),
        ({"format": 3, "weights": other}, "the weights of another configuration"),
        ({"format": 3, "weights": {}}, "the weights of another configuration"),
    ]:
        torch.save(content, path)
        with pytest.raises(NoWeights, match=words) as caught:
            list(evaluate(config, 1, runs.folder(1), at=20, **given))
        assert str(runs.folder(1)) in str(caught.value)
    torch.save({"format": 3, "step": 20, "weights": whole["weights"]}, path)  # as earlier versions wrote it
    assert len(list(evaluate(config, 1, runs.folder(1), at=20, **given))) == 1
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NoWeights, match="a FIFO, not a plain file"):
        list(evaluate(config, 1, runs.folder(1), at=20, **given))
    none = trained("none")
    none.train(config, snapshots=0)
    with pytest.raises(NoWeights, match="holds no snapshot"):
        list(evaluate(config, 1, none.folder(1), at=None, **given))


@pytest.fixture
def drawn(monkeypatch):
    """Envs that draw nothing; the reward of every step they make."""
    rewards, original = [], Env.step

    def step(self, action):
        found = original(self, action)
        rewards.append(found.reward)
        return found

    monkeypatch.setattr(Env, "step", step)
    monkeypatch.setattr(Env, "draw", lambda self, width, height: np.zeros((height, width, 3), np.uint8))
    return rewards


def test_a_film_shows_the_very_episodes_that_were_played(tiny, trained, drawn):
    config = tiny()
    runs = trained("runs")
    runs.train(config, snapshots=1)
    (played,) = evaluate(config, 1, runs.folder(1), at=None, planners=("eval",), episodes=3, device="cpu", threads=1)
    drawn.clear()
    found = film(config, played, 4, 2)
    assert found.ms == 20  # action repeat 2 x 10 ms
    assert [frame.shape for frame in found.frames] == [(2, 4, 3)] * 33
    assert np.array(drawn).reshape(3, 10).sum(1).tolist() == pytest.approx(played.returns)


def test_a_film_has_at_most_50_pictures_a_second(tiny, drawn):
    played = Evaluation(1, 0, "eval", (0.0,), (np.zeros((5, 1), np.float32),))
    found = film(tiny(action_repeat=1), played, 4, 2)
    assert (found.ms, len(list(found.frames))) == (20, 3)  # the first state, and those after 2 and 4 steps


def test_a_superseded_run_keeps_no_snapshot(tiny, trained):
    runs = trained("runs")
    train([runs.handle(tiny(), 1, guard=lambda: False)], device="cpu", threads=1, snapshots=40)
    assert list((runs.folder(1) / "snapshots").iterdir()) == []
