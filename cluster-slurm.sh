#!/bin/bash
# A study on a Slurm cluster, as one job: MLflow, Ray's head and the study's driver on its first node, trials on all.
# Edit what says EDIT. On the login node, in the checkout, once and then for every study:
#     python3 -m venv ~/imaging-pipelines/venv && ~/imaging-pipelines/venv/bin/pip install -r requirements.txt
#     sbatch cluster-slurm.sh paper             # or a study file; more options of `python -m study run` may follow
# Five minutes before its time is up, or when a node fails, the job goes back into the queue and later resumes. One that
# a person cancels, or whose study ends, is over: nothing of it stays behind.
#SBATCH --job-name=imaging-pipelines
#SBATCH --dependency=singleton                  # one job of this name at a time, as RESULTS has one MLflow
#SBATCH --nodes=2                               # EDIT
#SBATCH --ntasks-per-node=1                     # Ray's, which starts the trials
#SBATCH --cpus-per-task=8                       # EDIT: of each node
#SBATCH --gpus-per-node=1                       # EDIT: of each node
#SBATCH --mem=64G                               # EDIT: of each node
#SBATCH --time=24:00:00                         # EDIT: what your queue allows; the study may take longer
#SBATCH --output=imaging-pipelines-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --no-kill                               # a node that fails takes its own trials with it, and no others
#SBATCH --signal=B:USR1@300
set -euo pipefail -o monitor                    # monitor: what runs in the background can be stopped with its children
umask 077

export PATH=$HOME/imaging-pipelines/venv/bin:$PATH
# EDIT: a folder that all nodes see: pairs, checkpoints, figures. The study's `resources.cache` is on a node's own disk.
RESULTS=$SLURM_SUBMIT_DIR/results
# EDIT where nodes have several networks: `hostname -I` lists their addresses. MLflow listens at no other.
export OWN_ADDRESS='hostname -I | cut -d " " -f 1'

cd "$SLURM_SUBMIT_DIR"
mkdir -p "$RESULTS"
ADDRESS=$(eval "$OWN_ADDRESS")
RAY_PORT=$((20000 + SLURM_JOB_ID % 2500))       # other jobs may share the node
CLIENT_PORT=$((RAY_PORT + 2500)) MLFLOW_PORT=$((RAY_PORT + 5000))
python -c "import ipaddress, sys; sys.exit(not ipaddress.ip_address('$ADDRESS').is_private)" ||
    { echo "$ADDRESS is no private address, and MLflow has no passwords: choose another in this script" >&2; exit 2; }

# One token for all nodes, in a home that they share: without it nobody may start anything. Ray would tell its figures
# to any Prometheus, token or not: its three ports for that are closed.
[[ -s ~/.ray/auth_token ]] || ray get-auth-token --generate > /dev/null
chmod 600 ~/.ray/auth_token
export RAY_AUTH_MODE=token RAY_enable_metrics_collection=0 AUTOSCALER_METRIC_PORT=-1 DASHBOARD_METRIC_PORT=-1
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0  # Ray's nodes would take 30 s to end: as long as Slurm waits at all
export MLFLOW_TRACKING_URI=http://$ADDRESS:$MLFLOW_PORT MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

everything_ends() {
    trap - EXIT
    for process in $(jobs -p); do kill -- "-$process" 2> /dev/null || true; done
    wait
}
trap everything_ends EXIT
trap 'exit 143' TERM                            # the queue takes the job away, or a person does
trap 'echo "time is nearly up: back into the queue"; scontrol requeue "$SLURM_JOB_ID"' USR1

# MLflow: only on that address, started again if it dies. Who is on the cluster's network may read and write it: EDIT
# where that is too many, to name a server with passwords in MLFLOW_TRACKING_URI, and leave this loop out.
while true; do
    mlflow server --host "$ADDRESS" --port "$MLFLOW_PORT" --workers 2 \
        --allowed-hosts "localhost:$MLFLOW_PORT,127.0.0.1:$MLFLOW_PORT,$ADDRESS:$MLFLOW_PORT" \
        --backend-store-uri "sqlite:///$RESULTS/mlflow.db" --artifacts-destination "$RESULTS/artifacts" || true
    sleep 5
done >> "$RESULTS/mlflow.log" 2>&1 &

# A node of Ray, with a folder for its sockets that nobody else can enter. It ends with the head, and with this job.
# shellcheck disable=SC2016
NODE='
    FOLDER=$(mktemp -d /tmp/imaging-XXXXXX)
    trap "rm -rf $FOLDER" EXIT
    trap "kill \$RAY; wait \$RAY" TERM
    ulimit -n $(ulimit -Hn)
    ADDRESS=$(eval "$OWN_ADDRESS")
    ray start --block --node-ip-address=$ADDRESS --num-cpus=$SLURM_CPUS_PER_TASK --temp-dir=$FOLDER/ray "$@" &
    RAY=$!
    wait $RAY
'
bash -c "$NODE" head --head --port="$RAY_PORT" --ray-client-server-port="$CLIENT_PORT" --include-dashboard=false &
for port in "$RAY_PORT" "$MLFLOW_PORT"; do
    for ((second = 0; second < 300; second++)); do
        (: < "/dev/tcp/$ADDRESS/$port") 2> /dev/null && break
        sleep 1
    done
done
if ((SLURM_NNODES > 1)); then
    OTHERS=$((SLURM_NNODES - 1))
    srun --nodes="$OTHERS" --ntasks="$OTHERS" --exclude="$SLURMD_NODENAME" --cpus-per-task="$SLURM_CPUS_PER_TASK" \
        --no-kill --kill-on-bad-exit=0 bash -c "$NODE" worker --address="$ADDRESS:$RAY_PORT" &
fi

# The driver. `status`, `best` and `report` work on the login node meanwhile, with --storage and the results folder.
python -m study run "$@" --address "$ADDRESS:$RAY_PORT" --storage "$RESULTS" &
DRIVER=$!
CODE=0
until wait "$DRIVER"; do                        # a signal wakes it, too
    CODE=$?
    kill -0 "$DRIVER" 2> /dev/null || exit "$CODE"
done
