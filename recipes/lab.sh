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

# 2. Every family, every task. An encoder answers by a new head, the others in their own words.
lab() { crossflare run recipes/lab.yaml --runs "$runs" "$@"; }
for task in topic nli qa; do
  lab --set name=lab-encoder-$task --set model.name=lab-encoder --set task.set=lab-$task --set task.form=head
  lab --set name=lab-decoder-$task --set model.name=lab-decoder --set task.set=lab-$task --set task.form=text
  lab --set name=lab-encoder-decoder-$task --set model.name=lab-encoder-decoder --set task.set=lab-$task \
    --set task.form=text
done

# 3. One knob at a time, for the encoder on claims: errors of the translator, target text in pre-training, rank, phi, lead.
knob() { lab --set model.name=lab-encoder --set task.set=lab-nli --set task.form=head "$@"; }
few='methods={"translate-test": null, "lora": null, "flare": {"train_source": "machine"}}'
for rate in 0.0 0.2 0.4; do
  knob --set name=lab-noise-$rate --set "$few" --set translation.latents=null \
    --set "translation.to_source={engine: lab, drop: $rate, swap: $rate, wrong_sense: $rate}"
done
for share in 0.01 0.20 0.50; do
  crossflare lab pretrain --family encoder --target-share $share
  knob --set name=lab-share-$share --set model.name=lab-encoder@$share --set "$few" --set translation.latents=null
done
for rank in 1 2 4 16 32; do
  knob --set name=lab-rank-$rank --set stage2.r=$rank --set stage2.alpha=$((2 * rank)) --set "$few" \
    --set translation.latents=null
done
for phi in add mul mul_relu cross_attention cross_attention_paper; do
  knob --set name=lab-phi-$phi --set translation.latents=null \
    --set "methods={\"flare\": {\"train_source\": \"machine\", \"fusion\": \"$phi\"}}"
done
knob --set name=lab-lead-0 --set translation.latents=null \
  --set 'methods={"flare": {"train_source": "machine", "lead": 0}}'

# 4. Tables and plots.
python docs/results/lab.py "$runs"
