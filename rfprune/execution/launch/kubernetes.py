"""Sweeps on Kubernetes: one RayJob of the KubeRay operator, and one ConfigMap with its files.

The entry point is the same script that every other kind runs. Secrets stay in Kubernetes' secrets;
the manifest names them. Fields are those of KubeRay's ``ray.io/v1`` types (rayjob_types.go,
raycluster_types.go).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from rfprune.errors import ClusterError, SpecError
from rfprune.execution.launch.advice import explain
from rfprune.execution.launch.entry import ENTRY_FILE
from rfprune.execution.launch.jobs import RAY_STATES, Job, JobState, Note, progress, unknown_job
from rfprune.execution.launch.prepared_job import PreparedJob
from rfprune.execution.launch.profiles import KubernetesProfile
from rfprune.execution.launch.programs import run, stream

__all__ = ["find", "manifests", "render", "send"]

_JOB_FOLDER = "/etc/rfprune/job"
_LABEL = "rfprune.dev/job"
#: Names of the containers.
_HEAD, _WORKER = "ray-head", "ray-worker"
#: How long an ended job stays, so that its state and log can be read.
_KEEP_SECONDS = 3600
_POLL_SECONDS = 2.0
_REASONS = {
    "DeadlineExceeded": "it ran out of time: raise 'minutes', and submit again to resume.",
    "SubmissionFailed": "the job could not be submitted to its Ray cluster",
}
#: Why a container does not start (kubelet's reasons), and what to do.
_WAITING = {
    "ErrImagePull": "the image cannot be pulled: correct 'image' or 'pull_secrets'",
    "ImagePullBackOff": "the image cannot be pulled: correct 'image' or 'pull_secrets'",
    "InvalidImageName": "'image' is not the name of an image",
    "CreateContainerConfigError": "a secret or ConfigMap that the profile names does not exist",
    "CrashLoopBackOff": "the container ends at once: look at 'kubectl logs'",
}


def render(prepared: PreparedJob) -> str:
    """Return the manifests that would be applied."""
    head = f"# {' '.join(_kubectl(_profile(prepared), 'apply', '--filename=-'))}\n"
    return head + yaml.dump_all(manifests(prepared), Dumper=_Dumper, sort_keys=False, width=1000)


def send(prepared: PreparedJob) -> str:
    """Apply the manifests, and return the job's handle, ``kubernetes:NAMESPACE/NAME``.

    Raises:
        ClusterError: the cluster cannot be reached or refuses the job.
        MissingExtraError: kubectl is not on this machine.
    """
    profile = _profile(prepared)
    text = yaml.dump_all(manifests(prepared), Dumper=_Dumper, sort_keys=False)
    run(_kubectl(profile, "apply", "--filename=-"), stdin=text)
    handle = f"kubernetes:{profile.namespace}/{prepared.name}"
    Note(handle, {"context": profile.context, "profile": prepared.submission.profile}).save()
    return handle


def manifests(prepared: PreparedJob) -> list[dict[str, Any]]:
    """Return the ConfigMap with the job's files, and the RayJob.

    Raises:
        SpecError: a file's name cannot be put into a ConfigMap.
    """
    profile = _profile(prepared)
    labels = {_LABEL: prepared.name, "app.kubernetes.io/managed-by": "rfprune"}
    metadata = {"name": prepared.name, "namespace": profile.namespace, "labels": labels}
    job_labels = {**labels, "kueue.x-k8s.io/queue-name": profile.queue} if profile.queue else labels
    files, items = _files(prepared)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **files}
    ray_job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {**metadata, "labels": job_labels},
        "spec": _job(prepared, profile, items),
    }
    return [config_map, ray_job]


def _files(prepared: PreparedJob) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the data of the ConfigMap, and where each key is mounted."""
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    items = []
    for number, name in enumerate(sorted(prepared.upload.files)):
        if ".." in PurePosixPath(name).parts:
            raise SpecError(f"'{name}': a ConfigMap cannot hold a file of this name.")
        # A key of a ConfigMap cannot hold '/': files are numbered, and mounted by their paths.
        key, content = f"f{number:04d}", prepared.upload.read(name)
        try:
            data[key] = content.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
        items.append({"key": key, "path": name})
    return ({"data": data, "binaryData": binary} if binary else {"data": data}), items


def _job(
    prepared: PreparedJob, profile: KubernetesProfile, items: list[dict[str, str]]
) -> dict[str, Any]:
    job: dict[str, Any] = {
        "entrypoint": f"bash {_JOB_FOLDER}/{ENTRY_FILE}",
        # A pod of its own follows the driver, so that its output is that of a Kubernetes job.
        "submissionMode": "K8sJobMode",
        "backoffLimit": profile.restarts,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEEP_SECONDS,
        "metadata": {"rfprune_sweep": prepared.submission.sweep.name},
        "rayClusterSpec": {
            "rayVersion": profile.ray_version,
            # Whoever reaches a cluster without a token can run any code on it.
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                # Trials run on the workers, so that they never take the driver's memory.
                "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
                "template": _pod(prepared, profile, items, _HEAD),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "trials",
                    "replicas": profile.nodes,
                    "minReplicas": profile.nodes,
                    "maxReplicas": profile.nodes,
                    "rayStartParams": {},
                    "template": _pod(prepared, profile, items, _WORKER),
                }
            ],
        },
    }
    if profile.minutes is not None:
        job["activeDeadlineSeconds"] = 60 * profile.minutes
    return job


def _pod(
    prepared: PreparedJob, profile: KubernetesProfile, items: list[dict[str, str]], name: str
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": [_container(profile, name)],
        "volumes": [
            {"name": "job", "configMap": {"name": prepared.name, "items": items}},
            {"name": "runs", "persistentVolumeClaim": {"claimName": profile.claim}},
        ],
    }
    # The head needs no GPU nodes, and would keep one of them busy with nothing.
    if profile.node_selector and name != _HEAD:
        pod["nodeSelector"] = dict(profile.node_selector)
    if profile.service_account is not None:
        pod["serviceAccountName"] = profile.service_account
    if profile.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in profile.pull_secrets]
    return {"spec": pod}


def _container(profile: KubernetesProfile, name: str) -> dict[str, Any]:
    cpus, memory, gpus = profile.cpus, profile.memory_gb, profile.gpus
    if name == _HEAD:
        cpus, memory, gpus = profile.head_cpus, profile.head_memory_gb, 0
    variables: list[dict[str, Any]] = []
    for key, variable in profile.environment.items():
        if variable.secret is not None:
            reference = {"name": variable.secret, "key": variable.key}
            variables.append({"name": key, "valueFrom": {"secretKeyRef": reference}})
        elif variable.value is not None:
            # Kubernetes replaces $(NAME) in values; $$ stands for one dollar sign.
            variables.append({"name": key, "value": variable.value.replace("$", "$$")})
    amounts = {"cpu": str(cpus)}
    if memory is not None:
        amounts["memory"] = f"{round(memory * 1000)}M"
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    return {
        "name": name,
        "image": profile.image,
        "env": variables,
        # Equal: what a pod may use is given to no other.
        "resources": {"limits": dict(amounts), "requests": dict(amounts)},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [
            {"name": "job", "mountPath": _JOB_FOLDER, "readOnly": True},
            {"name": "runs", "mountPath": profile.runs},
        ],
    }


class _Dumper(yaml.SafeDumper):
    """YAML without references, and with texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _kubectl(profile: KubernetesProfile, *arguments: str) -> list[str]:
    return _kubectl_in(profile.namespace, profile.context, *arguments)


def _kubectl_in(namespace: str, context: str | None, *arguments: str) -> list[str]:
    where = [f"--context={context}"] if context else []
    return ["kubectl", *where, f"--namespace={namespace}", *arguments]


def _profile(prepared: PreparedJob) -> KubernetesProfile:
    assert isinstance(prepared.profile, KubernetesProfile)
    return prepared.profile


def find(note: Note, address: str | None) -> Job:
    """Return the job of a handle; `address` is kubectl's context."""
    return RayJobResource(note.handle, address or note.facts.get("context"))


class RayJobResource:
    """A RayJob in a Kubernetes cluster."""

    def __init__(self, handle: str, context: str | None) -> None:
        self.handle = handle
        namespace, _, self._name = handle.partition(":")[2].rpartition("/")
        self._namespace, self._context = namespace or "default", context

    def status(self) -> JobState:
        """Return how the job is: its progress, or the reason of its end."""
        facts = self._facts()
        state = RAY_STATES.get(str(facts.get("jobStatus") or "PENDING"), "running")
        deployment = facts.get("jobDeploymentStatus")
        if deployment == "Failed":
            state = "failed"
        if state == "pending":
            return JobState(state, self._why_waiting(facts.get("rayClusterName")))
        if state == "failed":
            reason = _REASONS.get(str(facts.get("reason")), "")
            said = str(facts.get("message") or "")
            return JobState(state, reason or explain(self._log(), said, "kubernetes"))
        return JobState(state, progress(self._log()))

    def logs(self, follow: bool = False) -> Iterator[str]:
        """Yield the driver's output, as the operator's submitting pod shows it."""
        while follow and self.status().state == "pending":
            time.sleep(_POLL_SECONDS)
        arguments = ["logs", f"job/{self._name}", *(["--follow"] if follow else [])]
        return stream(self._kubectl(*arguments))

    def cancel(self) -> JobState:
        """Delete the job and its cluster; the runs stay on their volume."""
        self._facts()
        names = f"{_LABEL}={self._name}"
        # Pods may take minutes to end, and nothing here depends on it.
        run(self._kubectl("delete", "rayjob,configmap", f"--selector={names}", "--wait=false"))
        return JobState(
            "cancelled", "What is finished is kept on the volume; submit again to resume."
        )

    def _facts(self) -> dict[str, Any]:
        answer = run(self._kubectl("get", "rayjob", self._name, "--ignore-not-found", "-o", "json"))
        if not answer.strip():
            raise unknown_job(self.handle, f"in the namespace '{self._namespace}'")
        facts: dict[str, Any] = json.loads(answer).get("status") or {}
        return facts

    def _why_waiting(self, cluster: object) -> str:
        """Return why the pods do not run yet."""
        if not cluster:
            return "Waiting for the KubeRay operator (or for a place in Kueue's queue)."
        pods = json.loads(
            run(self._kubectl("get", "pods", f"--selector=ray.io/cluster={cluster}", "-o", "json"))
        )
        for pod in pods.get("items", []):
            facts = pod.get("status", {})
            for container in facts.get("containerStatuses") or []:
                waiting = (container.get("state") or {}).get("waiting") or {}
                if waiting.get("reason") in _WAITING:
                    return f"{_WAITING[waiting['reason']]} ({waiting.get('message', '')})."
            for condition in facts.get("conditions") or []:
                if condition.get("reason") == "Unschedulable":
                    return f"No node has room for a pod ({condition.get('message', '')})."
        return "The pods are starting."

    def _log(self) -> str:
        try:
            return run(self._kubectl("logs", f"job/{self._name}", "--tail=200"))
        except ClusterError:
            return ""

    def _kubectl(self, *arguments: str) -> list[str]:
        return _kubectl_in(self._namespace, self._context, *arguments)
