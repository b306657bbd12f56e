"""The study's manifest, adapted: what changes, and that nothing else does."""

from __future__ import annotations

import yaml
from click.testing import CliRunner

from harness.cli import main
from harness.enforcers.study_manifest import adapt
from harness.matrix.scenario import folder

TEXT = (folder() / "study" / "kube-router-firewall-daemonset.yaml").read_text()


def test_only_what_is_said_is_changed() -> None:
    """Put back what the sentences name, and the manifest is the study's, word for word."""
    adapted = adapt(TEXT, "ours", "shell")
    before, after = list(yaml.safe_load_all(TEXT)), list(adapted.manifests)

    daemon, pod = after[1], after[1]["spec"]["template"]["spec"]
    daemon["apiVersion"] = "extensions/v1beta1"
    assert daemon["spec"].pop("selector") == {"matchLabels": {"k8s-app": "kube-router"}}
    swapped = ((pod["containers"][0], "ours"), (pod["initContainers"][0], "shell"))
    for (container, image), was in zip(
        swapped, ("ccr.ccs.tencentyun.com/library/kube-router:v1", "busybox"), strict=True
    ):
        assert (container["image"], container["imagePullPolicy"]) == (image, "IfNotPresent")
        container.update(image=was, imagePullPolicy="Always")
    assert pod["tolerations"].pop()["key"] == "node-role.kubernetes.io/control-plane"
    assert after == before


def test_every_change_is_said() -> None:
    """There is a sentence for each of them, with what was there before."""
    said = adapt(TEXT, "ours", "shell").changes

    assert len(said) == 7
    assert "extensions/v1beta1" in said[0]
    assert "kube-router:v1 became ours" in said[2]


def test_the_command_prints_what_kubectl_takes() -> None:
    """``harness study-manifest`` prints the adapted manifest, with each change as a comment."""
    said = CliRunner().invoke(main, ["study-manifest", "--image", "ours", "--init-image", "shell"])

    adapted = adapt(TEXT, "ours", "shell")
    assert list(yaml.safe_load_all(said.stdout)) == list(adapted.manifests)
    assert [f"# {change}" for change in adapted.changes] == said.stdout.splitlines()[:7]
