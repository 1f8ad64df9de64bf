"""All detectors with their thresholds. docs/flags.md has what each detects and its error rates.

They ask for roles (`sweepwise.core.metrics.ROLES`); `detectors_of` names an agent's metrics.
"""

from __future__ import annotations

from aggregate.flags import loss_detectors, policy_detectors, return_detectors, run_detectors, value_detectors
from aggregate.flags.detector import Detector
from sweepwise.core.agent import AgentDescription

SCALE, NOISE, GAIN = "of the value scale", "x the noise of the rows", "share of the gain"
OFF_LEVEL = (
    "k-th largest height of a row above both medians of 5 rows beside it, or of a level above both beside it or off "
    "the median of far more rows"
)

DETECTORS: tuple[Detector, ...] = (
    Detector("diverged", "NaN or diverged", "run", "", 0, "rows", 1,
             "a metric became NaN or infinite, or the run recorded that it diverged",
             "rows with a metric that is not finite",
             run_detectors.diverged, metric="nonfinite"),
    Detector("stopped_early", "stopped early", "run", "", 0, "stops", 1,
             "failed, interrupted, stalled or diverged before its last step",
             "1 where the run ended before its last step",
             run_detectors.stopped, metric="step"),
    Detector("evaluation_collapse", "evaluation collapses late", "return", "primary", 0.3, GAIN, 12,
             "fall from the best window to the last of at least {percent} % of the gain{change}; the "
             "best window is found on one half of the episodes and measured on the other, on neighbouring evaluations "
             "where the run has no values per episode. Or the same fall in the last 5 % of the evaluations",
             "(best - last) / (best - first), windows of evaluation returns",
             return_detectors.evaluation_falls),
    Detector("training_collapse", "training collapses late", "return", "training_return", 0.3, GAIN, 20,
             "the same fall, on training episodes",
             "(best - last) / (best - first), windows of pairs of episodes",
             return_detectors.training_falls),
    Detector("training_above_evaluation", "training far above evaluation", "return", "training_return", 0.25, GAIN, 12,
             "training episodes of the last quarter above evaluation by {percent} % of the gain{change}{differs}",
             "(last quarter of training - last quarter of evaluation) / gain of training",
             return_detectors.training_above, needs=("primary",)),
    Detector("evaluation_noise", "evaluation is noisy", "return", "primary", return_detectors.NOISY,
             "of the sweep's gain", 16,
             "in the second half the return jumps from one evaluation to the next by {percent} % of what the sweep's "
             "best run gained",
             "robust sd of jumps / sqrt 2 in the second half / (sweep's best - lowest start)",
             return_detectors.evaluation_noise, needs=("primary",), compares=True),
    Detector("few_episodes", "too few evaluation episodes", "return", "primary", 0.5, "of the noise", 16,
             "evaluation is noisy, and at least {percent} % of the noise lies between the episodes of one evaluation: "
             "more episodes reduce it",
             "mean variance of an evaluation's mean from its episodes / variance from one evaluation to the next",
             return_detectors.few_episodes, needs=("primary_episodes",), compares=True),
    Detector("policy_without_mpc_noise", "policy without MPC is noisy", "return", "policy_without_mpc",
             return_detectors.NOISY, "of the sweep's gain", 16, "the same, evaluated without planning",
             "robust sd of jumps / sqrt 2 in the second half / (sweep's best - lowest start)",
             return_detectors.evaluation_noise, needs=("primary",), compares=True),
    Detector("plateau", "stuck on a plateau", "return", "primary", 0.5, "of the sweep's gain missing", 16,
             "ends below half of the sweep's best, has since the second quarter gained significantly less than a tenth "
             "of it, and has not lost a tenth; not if the last value, or the last 5 or 10 %, have risen by a tenth",
             "1 - (last quarter - lowest start) / (sweep's best - lowest start)",
             return_detectors.plateau, compares=True),
    Detector("log_std_oscillates", "log_std oscillates", "policy", "log_std_per_dim", 0.25, "nat", 20,
             "in one action dimension, slow swings: two or more reversals of at least {threshold:g} nat, smoothed over "
             "5 % of the run; or fast swings: six such reversals, one in 50 rows, of a running median of 5 rows; or "
             "jumps from row to row beyond noise of .05 nat. No direction is expected",
             "largest swing made with so many turning points, or 70 % quantile of |difference of rows| / sqrt 2",
             policy_detectors.log_std_oscillates, instead="log_std"),
    Detector("log_std_at_floor", "log_std at its floor", "policy", "log_std_per_dim", 0.95, "of the allowed range", 8,
             "an action dimension ends in the bottom {rest} % of the range allowed to it",
             "(upper limit - last quarter) / (upper - lower limit), lowest dimension",
             policy_detectors.log_std_at_floor, instead="log_std"),
    Detector("entropy_collapse", "entropy collapses early", "policy", "policy_entropy", 0.9, "of its whole fall", 40,
             "falls by at least 1 nat, {percent} % of it before a quarter of training, while the return is below "
             "half of the sweep's best",
             "fall by 25 % of training / whole fall",
             policy_detectors.entropy_collapses, needs=("primary",), compares=True),
    Detector("pi_loss_spikes", "policy loss spikes", "policy", "policy_loss", 2.5, NOISE, 40,
             "three rows or more, or one stretch of rows, differ from the level before and after them, after the "
             "first tenth, by more than any noise that was tried does once in 2,500 runs; a single row needs a height "
             "that few faults have",
             OFF_LEVEL,
             loss_detectors.spikes_of_signed),
    Detector("pi_loss_variance", "policy loss gets noisier", "policy", "policy_loss", 2.0, "x the first half", 40,
             "jumps twice as far from row to row in the second half as in the first, or grows three times as much as "
             "the baseline's",
             "robust sd of jumps in the second half / in the first",
             policy_detectors.pi_loss_variance, compares=True),
    Detector("value_bias", "value biased", "value", "value_bias", 0.2, SCALE, 16,
             "true bias of the value keeps one sign for 80 % of the last quarter and exceeds {percent} % of the "
             "value scale; positive is optimism",
             "|mean of the last quarter| / value scale",
             value_detectors.value_bias, needs=("value_target",)),
    Detector("value_off_target", "prediction off its target", "value", "value_lag", 0.1, SCALE, 20,
             "prediction less target keeps one sign for 80 % of the last quarter and exceeds {percent} % of the value "
             "scale: the value lags behind its target; the flag for its bias says whether both are too high",
             "|mean of the last quarter| / value scale",
             value_detectors.value_off_target, needs=("value_target",)),
    Detector("value_overshoots", "value predictions overshoot", "value", "value_prediction", 0.2, SCALE, 20,
             "peak above the level of the last quarter by {percent} % of the value scale; if the return falls too, "
             "the value may only follow it",
             "(peak of the smoothed curve - last quarter) / value scale",
             value_detectors.value_overshoots, needs=("value_target",)),
    Detector("targets_swing", "TD targets swing", "value", "value_target", 0.2, SCALE, 40,
             "at least two reversals of at least {percent} % of the value scale, smoothed over 5 % of the run",
             "largest swing made with two turning points / value scale",
             value_detectors.targets_swing, needs=("value_target",)),
    Detector("value_error_stays", "value error does not fall", "value", "value_error", 0.75,
             "of the second quarter", 20,
             "the last quarter's error is above {percent} % of the second's and above 10 % of the value scale",
             "last quarter / second quarter",
             value_detectors.value_error_stays, needs=("value_target",)),
    Detector("heads_disagree", "dynamics heads disagree", "value", "target_spread", 0.2, SCALE, 20,
             "spread of the TD target over dynamics heads above {percent} % of the value scale and rising",
             "last quarter / value scale",
             value_detectors.heads_disagree, needs=("value_target",)),
    Detector("q_heads_disagree", "value heads disagree", "value", "value_spread", 0.2, SCALE, 20,
             "spread of the prediction over value heads above {percent} % of the value scale and rising",
             "last quarter / value scale",
             value_detectors.heads_disagree, needs=("value_target",)),
    Detector("consistency_spikes", "consistency loss spikes", "world model", "consistency", 2.5, NOISE, 40,
             "as the policy loss, on the log of the latent prediction error",
             OFF_LEVEL,
             loss_detectors.spikes_of_positive),
    Detector("validation_spikes", "validation consistency spikes", "world model", "validation_consistency", 2.5,
             NOISE, 20, "the same on evaluation episodes never trained on",
             OFF_LEVEL,
             loss_detectors.spikes_of_positive),
    Detector("consistency_rises", "consistency loss rises", "world model", "consistency", 1.5,
             "x its lowest quarter", 20, "the last quarter lies {threshold:g} times above the second or third",
             "last quarter / the lower of the second and third, of means of the log",
             loss_detectors.rises),
    Detector("validation_rises", "validation consistency rises", "world model", "validation_consistency", 1.5,
             "x its lowest quarter", 20, "the same rise on evaluation episodes never trained on; where the training "
             "loss does not rise too, the model overfits",
             "last quarter / the lower of the second and third, of means of the log",
             loss_detectors.rises),
    Detector("reward_degrades", "reward prediction degrades", "world model", "reward_error", 1.5,
             "x its lowest quarter", 20, "the same rise of the error of predicted rewards",
             "last quarter / the lower of the second and third, of means of the log",
             loss_detectors.rises),
)  # fmt: skip

BY_NAME = {d.name: d for d in DETECTORS}
# Detectors that compare a run with the others of its sweep, and those that look at it alone.
COMPARING = tuple(d for d in DETECTORS if d.compares)
SINGLE = tuple(d for d in DETECTORS if not d.compares)
COLLAPSE = BY_NAME["evaluation_collapse"].name  # of the primary metric: endpoints and caveats use it too


def detectors_of(agent: AgentDescription) -> tuple[Detector, ...]:
    """`DETECTORS` with the metrics and thresholds of an agent, see `Detector.of`."""
    return tuple(detector.of(agent) for detector in DETECTORS)
