#!/usr/bin/env bash
# One run on every process of one or more nodes, started by torchrun. The same command goes on with the run after a
# preemption or a crash, until it is finished.
#
#   one node:      PROCESSES=2 docs/clusters/torchrun.sh configs/cartpole_ppo.yaml
#   on each node:  NODES=2 PROCESSES=8 ENDPOINT=first-node:29400 docs/clusters/torchrun.sh run.yaml
set -euo pipefail
NODES="${NODES:-1}" PROCESSES="${PROCESSES:-2}" ENDPOINT="${ENDPOINT:-localhost:0}"
exec torchrun --nnodes "$NODES" --nproc-per-node "$PROCESSES" --max-restarts "${RESTARTS:-3}" \
  --rdzv-backend c10d --rdzv-endpoint "$ENDPOINT" --rdzv-id "${RUN_ID:-lit_rl}" \
  -m lit_rl fit --config "$1" --requeue true \
  --trainer.num_nodes "$NODES" --trainer.devices "$PROCESSES" --trainer.strategy ddp "${@:2}"
