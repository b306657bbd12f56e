"""What a real API server refuses here, with a sentence that says what does the same.

``kubectl exec``, ``attach`` and ``port-forward`` need a streaming protocol that no kept Python
library speaks. An admission policy answers them: a kubelet's own refusal would be lost on its way
through the API server, and kubectl would say "unknown error".
https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from typing import Any

_VERSION = "admissionregistration.k8s.io/v1"
_NAME = "npd-no-streams"
_STREAMS = ["pods/exec", "pods/attach", "pods/portforward"]


def refusals(cluster: str) -> list[dict[str, Any]]:
    """Return the policy and its binding, for a cluster of this name."""
    sentence = (
        "'pods here are network namespaces, without streams of kubectl; use: "
        f"harness cluster exec --name {cluster} ' + request.namespace + '/' + request.name"
        " + ' -- COMMAND'"
    )
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CONNECT"],
        "resources": _STREAMS,
    }
    return [
        {
            "apiVersion": _VERSION,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": _NAME},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "false", "messageExpression": sentence}],
            },
        },
        {
            "apiVersion": _VERSION,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": _NAME},
            "spec": {"policyName": _NAME, "validationActions": ["Deny"]},
        },
    ]
