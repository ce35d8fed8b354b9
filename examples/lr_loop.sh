#!/usr/bin/env bash
# Loop over learning rates with `midterm train`, then put the runs side by side.
#
#   examples/lr_loop.sh                                   five learning rates
#   examples/lr_loop.sh 1e-3 2e-3                         these learning rates
#   examples/lr_loop.sh 1e-3 2e-3 -- --activation tanh    options for midterm train, after --
#
# Interrupt it at any time and start it again: what is finished is kept, what was begun is continued.
# Each learning rate has a run folder of its own. The table is printed on stdout, the figure's path last.
set -euo pipefail

rates=()
while (($# > 0)) && [[ $1 != -- ]]; do
  rates+=("$1")
  shift
done
if ((${#rates[@]} == 0)); then
  rates=(5e-4 1e-3 2e-3 4e-3 8e-3)
fi
# An option wins over --set, so that those after -- win over these.
options=(--set num_seeds=3 --set epochs=5 "${@:2}")

folders=()
for lr in "${rates[@]}"; do
  code=0
  # The folder is the last line, after the summary.
  folder=$(midterm train "${options[@]}" --lr "$lr" --resume --fail-on-failure | tail -n 1) || code=$?
  case $code in
    0) ;;
    3) echo "lr $lr: training failed; the loop continues" >&2 ;;
    *) exit "$code" ;; # 2 is a mistake, 130 an interrupt
  esac
  folders+=("$folder")
done

midterm compare "${folders[@]}" --by lr
