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
from rfprune.launch.advice import explain
from rfprune.launch.entry import ENTRY_FILE
from rfprune.launch.jobs import Job, JobState, Note, State, progress, unknown_job
from rfprune.launch.plan import Plan
from rfprune.launch.profiles import KubernetesProfile, Variable
from rfprune.launch.programs import run, stream

__all__ = ["find", "manifests", "render", "send"]

_JOB_FOLDER = "/etc/rfprune/job"
_LABEL = "rfprune.dev/job"
#: Names of the containers.
_HEAD, _WORKER = "ray-head", "ray-worker"
_KEEP_SECONDS = 3600
_POLL_SECONDS = 2.0
_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}
_REASONS = {
    "DeadlineExceeded": "it ran out of time: raise 'minutes', and submit again to go on.",
    "SubmissionFailed": "the job could not be handed to its Ray cluster",
}
#: Why a container does not start (kubelet's reasons), and what to do.
_WAITING = {
    "ErrImagePull": "the image cannot be pulled: correct 'image' or 'pull_secrets'",
    "ImagePullBackOff": "the image cannot be pulled: correct 'image' or 'pull_secrets'",
    "InvalidImageName": "'image' is no name of an image",
    "CreateContainerConfigError": "a secret or ConfigMap that the profile names does not exist",
    "CrashLoopBackOff": "the container ends at once: look at 'kubectl logs'",
}


def render(plan: Plan) -> str:
    """Return the manifests that would be applied."""
    head = f"# {' '.join(_kubectl(_profile(plan), 'apply', '--filename=-'))}\n"
    return head + yaml.dump_all(manifests(plan), Dumper=_Dumper, sort_keys=False, width=1000)


def send(plan: Plan) -> str:
    """Apply the manifests, and return the job's handle, ``kubernetes:NAMESPACE/NAME``.

    Raises:
        ClusterError: the cluster cannot be reached or refuses the job.
        MissingExtraError: kubectl is not on this machine.
    """
    profile = _profile(plan)
    text = yaml.dump_all(manifests(plan), Dumper=_Dumper, sort_keys=False)
    run(_kubectl(profile, "apply", "--filename=-"), stdin=text)
    handle = f"kubernetes:{profile.namespace}/{plan.name}"
    Note(handle, {"context": profile.context, "profile": plan.submission.profile}).save()
    return handle


def manifests(plan: Plan) -> list[dict[str, Any]]:
    """Return the ConfigMap with the job's files, and the RayJob.

    Raises:
        SpecError: a file's name cannot be put into a ConfigMap.
    """
    profile = _profile(plan)
    labels = {_LABEL: plan.name, "app.kubernetes.io/managed-by": "rfprune"}
    metadata = {"name": plan.name, "namespace": profile.namespace, "labels": labels}
    job_labels = {**labels, "kueue.x-k8s.io/queue-name": profile.queue} if profile.queue else labels
    files, items = _files(plan)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **files}
    ray_job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {**metadata, "labels": job_labels},
        "spec": _job(plan, profile, items),
    }
    return [config_map, ray_job]


def _files(plan: Plan) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return the data of the ConfigMap, and where each key is mounted."""
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    items = []
    for number, name in enumerate(sorted(plan.bundle.files)):
        if ".." in PurePosixPath(name).parts:
            raise SpecError(f"'{name}': this file's name cannot be put into a ConfigMap.")
        key, content = f"f{number:04d}", plan.bundle.read(name)
        try:
            data[key] = content.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(content).decode()
        items.append({"key": key, "path": name})
    return ({"data": data, "binaryData": binary} if binary else {"data": data}), items


def _job(plan: Plan, profile: KubernetesProfile, items: list[dict[str, str]]) -> dict[str, Any]:
    job: dict[str, Any] = {
        "entrypoint": f"bash {_JOB_FOLDER}/{ENTRY_FILE}",
        "submissionMode": "K8sJobMode",
        "backoffLimit": profile.restarts,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEEP_SECONDS,
        "metadata": {"rfprune_sweep": plan.submission.sweep.name},
        "rayClusterSpec": {
            "rayVersion": profile.ray_version,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {
                # Trials run on the workers, so that they never take the driver's memory.
                "rayStartParams": {"num-cpus": "0", "num-gpus": "0"},
                "template": _pod(plan, profile, items, _HEAD),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "trials",
                    "replicas": profile.nodes,
                    "minReplicas": profile.nodes,
                    "maxReplicas": profile.nodes,
                    "rayStartParams": {},
                    "template": _pod(plan, profile, items, _WORKER),
                }
            ],
        },
    }
    if profile.minutes is not None:
        job["activeDeadlineSeconds"] = 60 * profile.minutes
    return job


def _pod(
    plan: Plan, profile: KubernetesProfile, items: list[dict[str, str]], name: str
) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": [_container(profile, name)],
        "volumes": [
            {"name": "job", "configMap": {"name": plan.name, "items": items}},
            {"name": "runs", "persistentVolumeClaim": {"claimName": profile.claim}},
        ],
    }
    if profile.node_selector and name != _HEAD:
        pod["nodeSelector"] = dict(profile.node_selector)
    if profile.service_account is not None:
        pod["serviceAccountName"] = profile.service_account
    if profile.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in profile.pull_secrets]
    return {"spec": pod}


def _container(profile: KubernetesProfile, name: str) -> dict[str, Any]:
    amounts = _head_amounts(profile) if name == _HEAD else _worker_amounts(profile)
    return {
        "name": name,
        "image": profile.image,
        "env": [
            _variable(name, value)
            for name, value in profile.environment.items()
            if value.secret is not None or value.value is not None
        ],
        "resources": {"limits": dict(amounts), "requests": dict(amounts)},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [
            {"name": "job", "mountPath": _JOB_FOLDER, "readOnly": True},
            {"name": "runs", "mountPath": profile.runs},
        ],
    }


def _head_amounts(profile: KubernetesProfile) -> dict[str, str]:
    return {"cpu": str(profile.head_cpus), "memory": _memory(profile.head_memory_gb)}


def _worker_amounts(profile: KubernetesProfile) -> dict[str, str]:
    amounts = {"cpu": str(profile.cpus)}
    if profile.memory_gb is not None:
        amounts["memory"] = _memory(profile.memory_gb)
    if profile.gpus:
        amounts["nvidia.com/gpu"] = str(profile.gpus)
    return amounts


def _variable(name: str, variable: Variable) -> dict[str, Any]:
    if variable.secret is not None:
        reference = {"name": variable.secret, "key": variable.key}
        return {"name": name, "valueFrom": {"secretKeyRef": reference}}
    # Kubernetes replaces $(NAME) in values; $$ stands for one dollar sign.
    return {"name": name, "value": (variable.value or "").replace("$", "$$")}


def _memory(gigabytes: float) -> str:
    return f"{round(gigabytes * 1000)}M"


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


def _profile(plan: Plan) -> KubernetesProfile:
    assert isinstance(plan.profile, KubernetesProfile)
    return plan.profile


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
        state = _STATES.get(str(facts.get("jobStatus") or "PENDING"), "running")
        deployment = facts.get("jobDeploymentStatus")
        if deployment == "Failed":
            state = "failed"
        if state == "pending":
            return JobState(state, self._why_waiting(facts.get("rayClusterName")))
        if state == "failed":
            reason = _REASONS.get(str(facts.get("reason")), "")
            return JobState(state, reason or explain(self._log(), str(facts.get("message") or "")))
        return JobState(state, progress(self._log()))

    def logs(self, follow: bool) -> Iterator[str]:
        """Yield the driver's output, as the operator's submitting pod shows it."""
        while follow and self.status().state == "pending":
            time.sleep(_POLL_SECONDS)
        arguments = ["logs", f"job/{self._name}", *(["--follow"] if follow else [])]
        return stream(self._kubectl(*arguments))

    def cancel(self) -> JobState:
        """Delete the job and its cluster; the runs stay on their volume."""
        self._facts()
        names = f"{_LABEL}={self._name}"
        run(self._kubectl("delete", "rayjob,configmap", f"--selector={names}", "--wait=false"))
        return JobState(
            "cancelled", "What is finished is kept on the volume; submit again to go on."
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
