"""What the flags and the verdict know of this agent: the sizes that count, and what to change."""

from __future__ import annotations

from sweepwise.core.agent import Cause, Confounding, Diagnostics
from tdmpc.config import LR_SCALED_BY

# Evaluation plans with one dynamics head, training with all of them: with a policy that is healthy, a gap between the
# two speaks of planning. What begins where the schedule changes something is put down to that change.
CAUSES = (
    Cause("policy", ("log_std_oscillates", "pi_loss_spikes", "pi_loss_variance", "training_above_evaluation"),
          "lower pi_lr_scale, or raise pi_update_freq", ("pi_lr_scale", "pi_update_freq")),
    Cause("value", ("targets_swing", "value_overshoots", "heads_disagree", "q_heads_disagree"),
          "lower tau, or utd_ratio", ("tau", "utd_ratio")),
    Cause("world model", ("consistency_spikes", "validation_spikes", "consistency_rises", "reward_degrades"),
          "lower lr, or utd_ratio", ("lr", "utd_ratio")),
    Cause("planning in evaluation", ("training_above_evaluation",),
          "compare `sweeps evaluate RUN --planner eval` with `--planner train`", ("planner_num_dynamics_heads",),
          against=("log_std_oscillates", "pi_loss_spikes", "pi_loss_variance"),
          question="does planning with one dynamics head limit its evaluation?"),
    Cause("few evaluation episodes", ("few_episodes",), "raise eval_episodes", ("eval_episodes",),
          question="are its evaluation episodes too few?"),
    Cause("encoder freeze", ("consistency_rises", "validation_rises", "reward_degrades", "evaluation_collapse",
          "training_collapse"),
          "lower detach_encoder_ratio, or set it to 0", ("detach_encoder_ratio",), events=("encoder_freeze",),
          question="does freezing the encoder cause it?"),
    Cause("entropy schedule", ("log_std_oscillates", "pi_loss_spikes", "entropy_collapse", "evaluation_collapse",
          "training_collapse"), "raise end_entropy_coeff, or start the schedule later",
          ("end_entropy_coeff", "start_dynamic_entropy_ratio"), events=("entropy_start", "entropy_end"),
          question="does the entropy schedule cause it?"),
)  # fmt: skip

DIAGNOSTICS = Diagnostics(
    smallest_change=50.0,  # return points of an episode of dm_control, which are 0 to 1000
    causes=CAUSES,
    confounded=tuple(
        Confounding(key, f"{key} also scales the {network} learning rate", "ensemble_lr_scaling")
        for key, network in LR_SCALED_BY.items()
    ),
    log_std_limits=("log_std_min", "log_std_max"),
    training_differs="training plans with all heads",
    random_until="seed_phase_end",
)
