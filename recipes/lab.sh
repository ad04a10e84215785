#!/usr/bin/env bash
# The laboratory from beginning to end, to be read in order: models are pre-trained, then every family does every task,
# then one knob at a time is turned. Made to be stopped and started again; about two hours of two cores.
#
#   recipes/lab.sh [FOLDER]        runs go to FOLDER (runs)
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-runs}

# 1. Models of the real architectures, a few minutes each, kept in the cache folder.
for family in encoder decoder encoder-decoder translator; do
  crossflare lab pretrain --family $family
done

# 2. Every family, every task. An encoder answers by a new head, the others in their own words, with longer prompts and
# so for fewer epochs.
lab() { crossflare run recipes/lab.yaml --runs "$runs" "$@"; }
short=(--set stage1.epochs=4 --set stage2.epochs=3 --set stage1.evaluations=2 --set stage2.evaluations=3)
for task in topic nli qa; do
  lab --set name=lab-encoder-$task --set model.name=lab-encoder --set task.set=lab-$task
  for family in decoder encoder-decoder; do
    lab --set name=lab-$family-$task --set model.name=lab-$family --set task.set=lab-$task --set task.form=text \
      "${short[@]}"
  done
done

# 3. One knob at a time, for the encoder on claims: rank, phi and lead; errors of the translator; target text in
# pre-training.
crossflare run recipes/lab-knobs.yaml --runs "$runs"
few='methods={"translate-test": null, "lora": null, "flare": {"train_source": "machine"}}'
for rate in 0.0 0.3; do
  crossflare run recipes/lab-knobs.yaml --runs "$runs" --set name=lab-noise-$rate --set "$few" \
    --set "translation.to_source={engine: lab, drop: $rate, swap: $rate, wrong_sense: $rate}"
done
for share in 0.20; do
  crossflare lab pretrain --family encoder --target-share $share
  crossflare run recipes/lab-knobs.yaml --runs "$runs" --set name=lab-share-$share --set "$few" \
    --set model.name=lab-encoder@$share
done

# 4. Tables and plots.
python docs/results/lab.py "$runs"
