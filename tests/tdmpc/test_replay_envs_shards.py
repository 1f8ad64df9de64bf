"""Replay windows, environments that can be restored, shards that are whole or absent."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from dm_control import suite

from sweepwise.core import atomic, shard_name, shards
from sweepwise.core.metrics import KINDS
from tdmpc.agent.agent import Agent
from tdmpc.config import TrainConfig
from tdmpc.metrics import CATALOGUE, METRICS
from tdmpc.rng import Streams
from tdmpc.tasks import TASKS
from tdmpc.training import evaluator
from tdmpc.training.environment import Env, SimulationError
from tdmpc.training.evaluator import Episode, begin, returns_to_go, value_bias
from tdmpc.training.replay_buffer import Replay


def filled(lengths, horizon=3, **kwargs):
    """Observation, action and reward of a transition carry its number within all transitions."""
    replay = Replay(1, 1, 1, horizon, **kwargs)
    number = 0
    for length in lengths:
        replay.begin(0, np.array([number], np.float32))
        for _ in range(length):
            replay.add(0, np.array([number], np.float32), float(number), np.array([number + 1], np.float32))
            number += 1
        number += 100  # a gap that a window across episodes would show
    return replay


def stream(seed=0):
    return Streams([seed], "test")


def test_windows_stay_within_an_episode():
    batch = filled([10, 4, 2, 7]).sample(2000, stream())
    obs, actions = batch.obs[0, :, :, 0], batch.actions[0, :, :, 0]
    assert (obs[1:] - obs[:-1] == 1).all()
    assert torch.equal(actions, obs[:-1])
    assert torch.equal(batch.rewards[0], obs[:-1])
    starts = set(obs[0].int().tolist())
    second, fourth = 10 + 100, 10 + 100 + 4 + 100 + 2 + 100  # the third is too short for a window
    assert starts == {*range(8), *range(second, second + 2), *range(fourth, fourth + 5)}


def test_an_episode_is_drawn_uniformly_whatever_its_length():
    batch = filled([3, 30]).sample(4000, stream())
    share = (batch.obs[0, 0, :, 0] < 100).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)


def test_the_newest_step_is_sampled_at_once_and_the_hot_share_is_from_the_newest():
    replay = filled([50, 9], hot=2, hot_buffer=2)
    hot = {start for n in range(20) for start in replay.sample(8, stream(n)).obs[0, 0, -2:, 0].tolist()}
    assert hot == {150 + 5, 150 + 6}  # nine transitions hold windows 0 to 6
    newest = [replay.sample(8, stream(n)).obs.max().item() for n in range(20)]
    assert max(newest) == 159


def test_the_hot_buffer_of_the_base_configuration_has_22_rows():
    """As the research code's: 5 + 2 (T + 1 + 3 hot windows of a batch) + T rows, 19 windows within one episode."""
    base = TrainConfig()
    assert (base.hot_windows, base.hot_buffer_windows) == (3, 19)

    def hot_starts(lengths):
        replay = filled(lengths, hot=base.hot_windows, hot_buffer=base.hot_buffer_windows)
        return {start for n in range(300) for start in replay.sample(8, stream(n)).obs[0, 0, -3:, 0].tolist()}

    assert hot_starts([50]) == set(range(29, 48))  # rows 29 to 50: transitions 29 to 49 and the last observation
    # The newest 22 rows are the 6 of the second episode and the last 16 of the first, which hold observations 35 to 50.
    assert hot_starts([50, 5]) == {*range(35, 48), 150, 151, 152}
    assert hot_starts([50, 2]) == set(range(32, 48))  # the second is too short for a window
    assert hot_starts([50, *[2] * 8]) == {47}  # where all of the newest are, the newest window there is


def test_the_hot_windows_do_not_change_which_others_are_drawn():
    with_hot, without = (filled([50, 9], hot=hot, hot_buffer=3).sample(8 + hot, stream()) for hot in (2, 0))
    assert torch.equal(with_hot.obs[:, :, :8], without.obs)


def test_replay_grows_and_comes_back_as_it_was():
    replay = filled([5000])
    copy = Replay(1, 1, 1, 3)
    copy.set_state(0, replay.state(0))
    for a, b in zip(replay.sample(64, stream()), copy.sample(64, stream()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("task", ["cartpole-swingup", "quadruped-walk", "ball-in-cup-catch", "quadruped-escape"])
def test_an_environment_is_restored_exactly(task):
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 64)).astype(np.float32)
    env = Env(task, 2, seed=3)
    env.reset()
    for action in actions[:20]:
        env.step(action[: env.action_size])
    env.reset()
    for action in actions[20:40]:
        before = env.step(action[: env.action_size])
    other = Env(task, 2, seed=99)
    assert np.array_equal(other.restore(env.state()), before.obs)
    for action in actions[40:]:
        a, b = env.step(action[: env.action_size]), other.step(action[: env.action_size])
        assert np.array_equal(a.obs, b.obs)
        assert a.reward == b.reward
    assert np.array_equal(env.reset(), other.reset())


@pytest.mark.parametrize("task", ["cartpole-swingup", "quadruped-walk"])
def test_an_observation_is_the_one_that_dm_control_gives_after_the_last_repeat(task):
    env, suite_task = Env(task, 3, seed=5), suite.load(*TASKS[task], task_kwargs={"random": 5})
    flat = lambda time_step: np.concatenate(  # noqa: E731
        [np.ravel(value) for value in time_step.observation.values()], dtype=np.float32
    )
    assert np.array_equal(env.reset(), flat(suite_task.reset()))
    spec = suite_task.action_spec()
    for action in np.random.default_rng(0).uniform(-1, 1, (5, env.action_size)).astype(np.float32):
        step = env.step(action)
        native = spec.minimum + (action.astype(np.float64) + 1) * (spec.maximum - spec.minimum) / 2
        expected = [suite_task.step(native) for _ in range(3)]
        assert np.array_equal(step.obs, flat(expected[-1]))
        assert step.reward == sum(time_step.reward for time_step in expected)


def test_an_episode_has_1000_frames_and_rewards_add_up_over_the_repeat():
    env = Env("cartpole-balance", 300, seed=0)
    env.reset()
    found = [env.step(np.zeros(1)) for _ in range(4)]
    assert [step.last for step in found] == [False, False, False, True]
    single = Env("cartpole-balance", 1, seed=0)
    single.reset()
    assert [step.frames for step in found] == [300, 300, 300, 100]
    assert found[0].reward == pytest.approx(sum(single.step(np.zeros(1)).reward for _ in range(300)))


def test_a_simulation_that_fails_says_so_in_one_line():
    env = Env("cartpole-balance", 2, seed=0)
    env.reset()
    env._env.physics.data.qpos[0] = np.nan
    with pytest.raises(SimulationError, match=r"\Athe physics became invalid: [^\n]+\Z"):
        env.step(np.zeros(1))


def test_reseeding_decides_the_next_episode():
    env = Env("walker-walk", 2, seed=0)
    env.reseed(7)
    first = env.reset()
    env.reset()
    env.reseed(7)
    assert np.array_equal(env.reset(), first)


@pytest.mark.parametrize("task", ["lqr-lqr-2-1", "humanoid-cmu-walk", "acrobot-swingup-sparse"])
def test_tasks_with_odd_names_or_no_time_limit_have_1000_frames(task):
    env = Env(task, 125, seed=0)
    env.reset()
    steps = [env.step(np.zeros(env.action_size)) for _ in range(8)]
    assert [step.last for step in steps] == [False] * 7 + [True]
    assert not steps[-1].terminated  # by the clock


def test_the_end_of_an_episode_stands_at_its_last_transition():
    replay = Replay(1, 1, 1, 2)
    replay.add_episode(0, np.zeros((4, 1), np.float32), np.zeros((3, 1), np.float32), np.zeros(3), terminated=True)
    ends = replay.sample(50, stream()).terminated[0]
    assert set(map(tuple, ends.T.tolist())) == {(0.0, 0.0), (0.0, 1.0)}


def test_no_episode_as_long_as_a_window_is_said_so():
    with pytest.raises(RuntimeError, match="no episode has the 3 transitions"):
        filled([2, 2]).sample(4, stream())


def test_returns_to_go():
    assert returns_to_go(np.array([1.0, 2.0, 4.0]), 0.5).tolist() == [3.0, 4.0, 4.0]
    assert returns_to_go(np.array([1.0, 2.0]), 0.5, after=8.0).tolist() == [4.0, 6.0]


def test_value_bias_is_zero_for_a_value_that_is_right_where_the_time_limit_cuts_the_return(tiny, monkeypatch):
    """A reward of 1 for ever is worth 100 at discount 0.99; 500 steps earn 99.3 of it, and 300 steps 95.1."""
    agent = Agent(tiny(discount=0.99), 1, 1, [1], "cpu")
    monkeypatch.setattr(evaluator, "_values_of", lambda agent, s, obs: np.full(len(obs), 100.0))
    rewards = np.ones(500, np.float32)
    obs, actions = np.zeros((501, 1), np.float32), np.zeros((500, 1), np.float32)
    by_time_limit, by_termination = Episode(obs, actions, rewards, False), Episode(obs, actions, rewards, True)
    assert value_bias(agent, {0: [by_time_limit]}, "cpu")[0] == pytest.approx(0, abs=1e-4)
    assert value_bias(agent, {0: [by_termination]}, "cpu")[0] == pytest.approx(2.1, abs=0.1)


def test_value_bias_is_value_less_the_return_that_followed_over_the_first_200_steps(tiny):
    agent = Agent(tiny(discount=0.5), 1, 1, [1], "cpu")  # whose values are 0 so far

    def episode(rewards):
        return Episode(np.zeros((len(rewards) + 1, 1), np.float32), np.zeros((len(rewards), 1)), rewards, False)

    late = np.zeros(250, np.float32)
    late[249] = 1.0  # 50 steps behind the last state that counts
    bias = value_bias(agent, {0: [episode(np.ones(2, np.float32)), episode(late)]}, "cpu")
    assert bias[0] == pytest.approx(-(1.5 + 1) / 202, abs=1e-6)


# --- shards -------------------------------------------------------------------------------------------


def writer(folder, guard=lambda: True, tag="a001"):
    return shards.ShardWriter(folder, tag, {"seed": "1"}, guard, CATALOGUE)


def test_rows_come_back(tmp_path):
    w = writer(tmp_path)
    w.log("train", 5, 10, 3, {"pi_loss": 1.5, "log_std_per_dim": [1.0, 2.0]})
    w.log("event", 5, 10, 3, {}, event="encoder_freeze")
    w.flush()
    w.flush()  # nothing more to publish
    (path,) = (tmp_path / "metrics").iterdir()
    assert path.name == "a001-p00000.parquet"
    rows = shards.read_shard(path).drop_columns(["time"]).to_pylist()
    assert rows[0] == {
        "kind": "train", "step": 5, "frames": 10, "update": 3, "event": None, "pi_loss": 1.5,
        "log_std_per_dim": [1.0, 2.0],
    }  # fmt: skip
    assert rows[1]["event"] == "encoder_freeze"


def test_a_restarted_writer_numbers_on(tmp_path):
    for _ in range(2):
        w = writer(tmp_path)
        w.log("episode", 1, 2, 0, {"episode_return": 1.0})
        w.flush()
    assert sorted(p.name for p in (tmp_path / "metrics").iterdir()) == ["a001-p00000.parquet", "a001-p00001.parquet"]


def test_the_shard_that_ends_a_run_says_so_and_is_never_empty(tmp_path):
    w = shards.ShardWriter(tmp_path, "a001", {}, lambda: True, CATALOGUE, rows_per_shard=2)
    for step in (1, 2, 3, 4):
        w.log("episode", step, step, 0, {"episode_return": 1.0})
    w.flush(end=4)
    names = sorted(path.name for path in (tmp_path / "metrics").iterdir())
    assert names == ["a001-p00000.parquet", "a001-p00001-end4.parquet"]
    assert shards.read_shard(tmp_path / "metrics" / names[1])["step"].to_pylist() == [3, 4]


def test_shards_sort_by_attempt_and_part_and_other_names_are_none():
    names = ["a1000-p00000.parquet", "a999-p00001-end50.parquet", ".a999-p00002.parquet.5.part", "notes.txt"]
    assert [shard_name.parse(name) for name in names[2:]] == [None, None]
    assert str(shard_name.last(names)) == names[0]
    assert shard_name.last(names[1:]).end == 50
    assert shard_name.last([]) is None


def test_only_the_catalogue_can_be_logged(tmp_path):
    w = writer(tmp_path)
    with pytest.raises(KeyError, match="pi_loss"):
        w.log("train", 1, 2, 0, {"pi_los": 1.0})
    with pytest.raises(KeyError, match="rows of kind 'eval'"):
        w.log("train", 1, 2, 0, {"value_bias": 1.0})
    with pytest.raises(KeyError, match="event 'lunch'"):
        w.log("event", 1, 2, 0, {}, event="lunch")


def test_an_old_attempt_publishes_nothing(tmp_path):
    w = writer(tmp_path, guard=lambda: False)
    w.log("episode", 1, 2, 0, {"episode_return": 1.0})
    with pytest.raises(atomic.Superseded):
        w.flush()
    assert list((tmp_path / "metrics").iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def half(path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.write(tmp_path / "x.parquet", half)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_shards_say_why(tmp_path):
    bad = {"empty": b"", "foreign": b"hello", "truncated": b"PAR1\x00\x00"}
    for name, content in bad.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(shards.ShardError):
            shards.read_shard(path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(shards.ShardError, match="not a metric shard"):
        shards.read_shard(tmp_path / "other.parquet")
    table = shards.rows_to_table([], {}, CATALOGUE).replace_schema_metadata({"schema_version": "99"})
    pq.write_table(table, tmp_path / "future.parquet")
    with pytest.raises(shards.ShardError, match="schema version 99"):
        shards.read_shard(tmp_path / "future.parquet")


def test_the_catalogue_is_consistent():
    assert all(m.name == name for name, m in METRICS.items())
    assert all(m.kind in KINDS for m in METRICS.values())
    assert "validation/consistency_loss" in METRICS
    with pytest.raises(KeyError, match="near matches: log_std"):
        CATALOGUE.metric("log_stdd")


def test_evaluation_episodes_begin_alike_in_every_configuration():
    """By run seed, step and number alone: configurations of one task share their starts."""
    one, other = Env("quadruped-walk", 2, 0), Env("quadruped-walk", 2, 7)
    other.reset()
    other.step(np.zeros(other.action_size))
    starts = [begin(env, 3, 500, 11) for env in (one, other)]
    np.testing.assert_array_equal(*starts)
    others = [begin(one, *place) for place in ((4, 500, 11), (3, 600, 11), (3, 500, 12))]
    assert not any(np.array_equal(starts[0], start) for start in others)
