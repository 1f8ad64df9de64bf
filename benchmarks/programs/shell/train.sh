#!/bin/sh
# Gradient descent on a noisy parabola. The hyperparameters come by the environment; the arguments are the folder of the
# run, the seed, and --resume.
set -eu
run=$1 seed=$2
: "${LEARNING_RATE:=0.1}" "${STEPS:=60}" # as in the plan: values that nobody changed are not passed
position=10 step=0
[ "${3:-}" != --resume ] || read -r step position < "$run/checkpoint"
save() { # whole or not at all
    echo "$step $position" > "$run/checkpoint.part"
    mv "$run/checkpoint.part" "$run/checkpoint"
}
stop=
trap 'stop=yes' TERM

while [ "$step" -lt "$STEPS" ] && [ -z "$stop" ]; do
    step=$((step + 1))
    position=$(awk -v x="$position" -v lr="$LEARNING_RATE" -v seed="$((seed * 100000 + step))" \
        'BEGIN { srand(seed); printf "%.9f", x - lr * (2 * x + rand() - 0.5) }')
    loss=$(awk -v x="$position" 'BEGIN { printf "%.9f", x * x }')
    echo "{\"step\": $step, \"position\": $position, \"loss\": $loss}" >> "$run/metrics.jsonl"
    [ $((step % 10)) -ne 0 ] || save
    sleep 0.02
done
save
