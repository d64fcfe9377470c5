"""Sweeps on Slurm: one batch job that starts a Ray cluster on its nodes and the driver beside it.

Not ``ray symmetric-run``, which ends with ``ray stop`` and so with every Ray process of the user on
a shared node: each node's Ray is a job step here, and ends with it. The study makes it safe to put
the job back into the queue.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from shlex import join

from rfprune.errors import ClusterError, MissingExtraError
from rfprune.execution.launch.advice import explain
from rfprune.execution.launch.entry import ENVIRONMENT_FILE, shell_path
from rfprune.execution.launch.jobs import (
    Job,
    JobState,
    Note,
    State,
    follow_file,
    progress,
    unknown_job,
)
from rfprune.execution.launch.local import job_folder
from rfprune.execution.launch.prepared_job import PreparedJob, default_interpreter
from rfprune.execution.launch.profiles import SlurmProfile
from rfprune.execution.launch.programs import run

__all__ = ["batch_script", "find", "render", "send"]

_SCRIPT, _LOG, _EXIT = "job.sbatch", "log.txt", "exit"
#: Time before the limit at which the sweep is asked to stop; a quarter of the time if that is less.
_GRACE_SECONDS = 120
#: The controller is shared by everyone.
_POLL_SECONDS = 3.0
_STATES: dict[str, State] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "REQUEUED": "pending",
    "REQUEUE_HOLD": "pending",
    "RESV_DEL_HOLD": "pending",
    "SUSPENDED": "pending",
    "RUNNING": "running",
    "COMPLETING": "running",
    "STAGE_OUT": "running",
    "SIGNALING": "running",
    "COMPLETED": "succeeded",
    "CANCELLED": "cancelled",
}
_REASONS = {
    "TIMEOUT": "it ran out of time: raise 'minutes' or 'restarts', and submit again to resume.",
    "OUT_OF_MEMORY": "a node ran out of memory: raise 'memory_gb', and submit again to resume.",
    "NODE_FAIL": "a node broke down; submit again to resume.",
    "BOOT_FAIL": "a node did not start; submit again.",
    "PREEMPTED": "a job of higher priority took its place; submit again to resume.",
    "DEADLINE": "it could not finish before its deadline; submit again.",
}
#: The part of the batch script that holds no value of the profile but those named above it.
_BODY = r"""
umask 077
rm -f exit
expired= driver= folder=/tmp/rfprune-$SLURM_JOB_ID
tell() { [ -n "$driver" ] && kill "-$1" "$driver" 2> /dev/null; }
trap 'expired=1; tell USR1' USR1
trap 'tell TERM || { rm -rf "$folder"; exit 143; }' TERM
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$PWD/ray-token"
[ -s ray-token ] || head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > ray-token

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on() { srun --nodes=1 --ntasks=1 --nodelist="$1" --overlap "${@:2}"; }
ip=$(on "${nodes[0]}" hostname -I | awk '{print $1}')
ip=${ip:-127.0.0.1}
port=$((20000 + SLURM_JOB_ID % 1000))
steps=()
ray_on() {
  on "$1" "$python" -m ray.scripts.scripts start --block --disable-usage-stats \
    --num-cpus="$cpus" --num-gpus="$gpus" "${@:2}" >> "ray-$1.log" 2>&1 &
  steps+=($!)
}
ray_on "${nodes[0]}" --head --node-ip-address="$ip" --port="$port" --temp-dir="$folder" \
  --include-dashboard=false --ray-client-server-port=$((port + 1000))
for _ in {1..300}; do
  (exec 3<> "/dev/tcp/$ip/$port") 2> /dev/null && break
  kill -0 "${steps[0]}" 2> /dev/null || break
  sleep 1
done
for node in "${nodes[@]:1}"; do ray_on "$node" --address="$ip:$port"; done

export RAY_ADDRESS="$ip:$port"
bash ./entry.sh &
driver=$!
[ -z "$expired" ] || tell USR1
wait "$driver"; status=$?
while kill -0 "$driver" 2> /dev/null; do wait "$driver"; status=$?; done

kill "${steps[@]}" 2> /dev/null
wait "${steps[@]}" 2> /dev/null
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --overlap rm -rf "$folder"
if [ -n "$expired" ] && [ "$status" -ne 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$restarts" ]; then
  echo "Out of time: back into the queue, start $((${SLURM_RESTART_COUNT:-0} + 2))."
  scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
echo "$status" > exit
exit "$status"
"""


def batch_script(prepared: PreparedJob) -> str:
    """Return the text of the batch job."""
    profile = _profile(prepared)
    wanted: dict[str, object] = {
        "nodes": profile.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": profile.cpus,
        "gpus-per-node": profile.gpus or None,
        "mem": f"{round(profile.memory_gb * 1e9 / 2**20)}M" if profile.memory_gb else None,
        "time": profile.minutes,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        # A job that goes back into the queue continues its log.
        "open-mode": "append",
        # B: to the batch shell alone, which passes it on; at the limit Slurm kills everything.
        "signal": f"B:USR1@{min(_GRACE_SECONDS, 15 * profile.minutes)}",
    }
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{key}={value}" for key, value in wanted.items() if value is not None]
    # Without it the controller refuses `scontrol requeue`, and drops the job when a node fails.
    lines.append("#SBATCH --requeue")
    interpreter = profile.interpreter or default_interpreter(profile, None)
    lines += [
        "",
        f"python={shell_path(interpreter)} cpus={profile.cpus} gpus={profile.gpus} "
        f"restarts={profile.restarts}",
        *profile.setup,
        f". ./{ENVIRONMENT_FILE}",
        "set +e",
    ]
    return "\n".join(lines) + _BODY


def render(prepared: PreparedJob) -> str:
    """Return the command, the batch script and the files."""
    return f"# {join(_command(prepared))}\n{batch_script(prepared)}\n{prepared.summary()}"


def send(prepared: PreparedJob) -> str:
    """Write the files to the shared folder, submit the job, and return its handle.

    Raises:
        ClusterError: the folder cannot be written, or Slurm refuses the job.
        MissingExtraError: sbatch is not on this machine.
    """
    folder = job_folder(prepared)
    upload = prepared.upload.with_files({_SCRIPT: batch_script(prepared).encode()})
    try:
        upload.write(folder)
    except OSError as error:
        raise ClusterError(f"{folder}: the job's files cannot be written ({error}).") from error
    answer = run(_command(prepared)).strip()
    number = answer.partition(";")[0]
    if not number.isdigit():
        raise ClusterError(f"sbatch answered '{answer}' instead of the job's number.")
    handle = f"slurm:{number}"
    Note(handle, {"folder": str(folder), "profile": prepared.submission.profile}).save()
    return handle


def _command(prepared: PreparedJob) -> list[str]:
    folder = str(job_folder(prepared))
    # In file name patterns of Slurm a percent sign begins a placeholder.
    log = f"{folder}/{_LOG}".replace("\\", "\\\\").replace("%", "%%")
    return [
        *("sbatch", "--parsable", f"--job-name={prepared.name}", f"--chdir={folder}"),
        *(f"--output={log}", f"{folder}/{_SCRIPT}"),
    ]


def _profile(prepared: PreparedJob) -> SlurmProfile:
    assert isinstance(prepared.profile, SlurmProfile)
    return prepared.profile


def find(note: Note, address: str | None) -> Job:
    """Return the job of a handle."""
    folder = note.facts.get("folder")
    return SlurmJob(note.handle, Path(folder) if folder else None)


class SlurmJob:
    """A batch job of Slurm."""

    def __init__(self, handle: str, folder: Path | None) -> None:
        self.handle = handle
        self._number = handle.partition(":")[2]
        self._folder = folder

    def status(self) -> JobState:
        """Return how the job is: the queue's reason, its progress, or the reason of its end."""
        name, detail = self._slurm_state()
        state = _STATES.get(name, "failed")
        if state == "pending":
            again = "In the queue again" if detail == "BeginTime" else "In the queue"
            return JobState(state, f"{again} ({detail})." if detail else f"{again}.")
        log = self._log()
        if state == "failed":
            return JobState(
                state, _REASONS.get(name) or explain(log, f"Slurm says {name}.", "slurm")
            )
        if state == "cancelled":
            return JobState(state, "What is finished is kept; submit again to resume.")
        return JobState(state, progress(log))

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield the output of the job."""
        path = self._log_path()
        return follow_file(path, follow, lambda: self.status().ended, _POLL_SECONDS)

    def cancel(self) -> JobState:
        """Cancel the job; Slurm first signals the sweep to stop."""
        self._slurm_state()
        run(["scancel", self._number])
        return self.status()

    def _slurm_state(self) -> tuple[str, str]:
        """Return Slurm's word for the state, and its reason, from whoever still knows the job."""
        for ask in (self._from_queue, self._from_controller, self._from_accounting):
            with contextlib.suppress(ClusterError):
                if found := ask():
                    return found
        status = self._folder / _EXIT if self._folder else None
        if status is not None and status.exists():
            done = status.read_text().strip() == "0"
            return ("COMPLETED" if done else "FAILED"), ""
        # The controller is asked once more, so that a fault of it is not taken for an unknown job.
        run(["squeue", "--noheader", "--format=%i"])
        raise unknown_job(self.handle, "in Slurm")

    def _from_queue(self) -> tuple[str, str] | None:
        text = run(["squeue", "--noheader", f"--jobs={self._number}", "--format=%T|%r"]).strip()
        name, _, reason = text.partition("|")
        return (name, "" if reason == "None" else reason) if name else None

    def _from_controller(self) -> tuple[str, str] | None:
        name = self._field("JobState")
        return (name, "") if name else None

    def _from_accounting(self) -> tuple[str, str] | None:
        command = ["sacct", "-X", "--noheader", "--parsable2", f"--jobs={self._number}"]
        with contextlib.suppress(MissingExtraError):
            words = run([*command, "--format=State"]).split()
            return (words[0], "") if words else None
        return None

    def _field(self, key: str) -> str | None:
        text = run(["scontrol", "show", "job", self._number])
        found = re.search(rf"(?:^|\s){key}=(.*?)(?=\s\w+=|\n|$)", text)
        return found.group(1).strip() if found else None

    def _log_path(self) -> Path:
        if self._folder is not None:
            return self._folder / _LOG
        with contextlib.suppress(ClusterError):
            if path := self._field("StdOut"):
                return Path(path)
        raise unknown_job(self.handle, "in Slurm")

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return self._log_path().read_text(encoding="utf-8", errors="replace")
        return ""
