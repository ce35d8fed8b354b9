#!/usr/bin/env bash
# Where do sgd, momentum and adam fail? A sweep for each, then all of them in one figure.
#
#   examples/optimizers.sh                                  the perceptron, pixels divided by 255
#   examples/optimizers.sh --network conv_stack --seeds 6   options for midterm lr-sweep
#
# Interrupt it at any time and start it again: what is finished is kept, what was begun is continued.
# The table is printed on stdout, the figure's path last.
set -euo pipefail

folders=()
for optimizer in "sgd" "sgd --momentum 0.9" "adam"; do
  # The folder is the last line, after the summary. The words of an optimiser are options.
  # shellcheck disable=SC2086
  folder=$(midterm lr-sweep --set normalize=unit "$@" --optimizer $optimizer --resume | tail -n 1)
  folders+=("$folder")
done

midterm compare "${folders[@]}"
