"""The cluster options, for click and for pytest."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from harness.clusters import make_embedded
from harness.errors import UsageError
from harness.options import (
    CLUSTER_OPTIONS,
    ClusterSettings,
    add_pytest_options,
    cluster_options,
    settings_from,
)

NEEDED: dict[tuple[str, str], dict[str, str | int]] = {
    ("bridge_netfilter", "mixed"): {"cni": "bridged", "bridges": 2},
    ("cni", "kindnet"): {"cluster": "kind"},
}
"""What else has to be given with a choice."""


def test_defaults_are_the_settings_defaults() -> None:
    """No option given means the settings' own defaults."""
    assert settings_from({}) == ClusterSettings()


def test_every_value_that_is_built_is_taken() -> None:
    """Each choice of each option is accepted."""
    for option in CLUSTER_OPTIONS:
        for choice in option.choices:
            settings_from({option.key: choice} | NEEDED.get((option.key, choice), {}))


def test_bridges_go_with_each_other() -> None:
    """Several bridges need bridged nodes; to treat them differently needs several."""
    with pytest.raises(UsageError, match="--bridges 2 goes with --cni bridged"):
        settings_from({"bridges": 2})
    with pytest.raises(UsageError, match="--bridge-netfilter mixed needs --bridges 2"):
        settings_from({"cni": "bridged", "bridge_netfilter": "mixed"})


def test_all_mistakes_at_once() -> None:
    """Each mistake has a line of its own."""
    wrong = {"nodes": "many", "cni": "overlay", "pods_per_node": 0, "cluster": "minikube"}

    with pytest.raises(UsageError) as raised:
        settings_from(wrong)

    assert str(raised.value).splitlines() == [
        "--cluster 'minikube' is not known; there is: embedded, kind, kubeconfig",
        "--nodes 'many' is not a whole number",
        "--cni 'overlay' is not known; there is: routed, bridged, kindnet",
        "--pods-per-node 0 must be from 1 to 4000",
    ]


def test_values_that_do_not_go_together_are_told_beside_wrong_ones() -> None:
    """A value that is wrong by itself hides no other mistake, and is told once."""
    wrong = {"nodes": 0, "bridges": 2, "bridge_netfilter": "maybe", "context": "other"}

    with pytest.raises(UsageError) as raised:
        settings_from(wrong)

    assert str(raised.value).splitlines() == [
        "--nodes 0 must be from 1 to 1000",
        "--bridge-netfilter 'maybe' is not known; there is: on, off, mixed",
        "--context goes with --cluster kubeconfig",
        "--bridges 2 goes with --cni bridged",
    ]


def test_click_hands_over_settings() -> None:
    """A decorated command gets the settings, beside its own options."""
    seen: list[tuple[ClusterSettings, bool]] = []

    @click.command()
    @cluster_options()
    @click.option("--own", is_flag=True)
    def command(settings: ClusterSettings, *, own: bool) -> None:
        seen.append((settings, own))

    arguments = ["--own", "--cni", "bridged", "--bridge-netfilter", "on", "--nodes", "3"]
    result = CliRunner().invoke(command, arguments)

    assert result.exit_code == 0, result.output
    assert seen == [(ClusterSettings(nodes=3, cni="bridged", bridge_netfilter=True), True)]


def test_pytest_knows_the_same_options() -> None:
    """Every option of the table is one of pytest's."""
    parser = pytest.Parser(_ispytest=True)

    add_pytest_options(parser)

    namespace = parser.parse([f"--{option.name}={option.default}" for option in CLUSTER_OPTIONS])
    assert namespace.of_cluster_nodes == "2"


def test_clusters_without_a_name_get_different_ones() -> None:
    """Two clusters that nobody named can be up at once."""
    one, two = make_embedded(ClusterSettings()), make_embedded(ClusterSettings())

    assert one.name != two.name
    assert make_embedded(ClusterSettings(name="mine")).name == "mine"


def test_what_kind_cannot_be_is_said_at_once() -> None:
    """Settings of embedded clusters alone are refused, each with a line of its own."""
    wrong = {
        "cluster": "kind",
        "control_plane": "builtin",
        "proxy": "nftables",
        "bridges": 2,
        "masquerade": "on",
        "pods_per_node": 250,
        "kubernetes_version": "v1.34.3",
    }

    with pytest.raises(UsageError) as raised:
        settings_from(wrong)

    said = str(raised.value).splitlines()
    options = {line.split()[0].rstrip(":") for line in said}
    assert options == {f"--{key.replace('_', '-')}" for key in wrong if key != "cluster"}


@pytest.mark.parametrize(
    ("cluster", "proxy"), [("embedded", "nftables"), ("kind", "kube-proxy-iptables")]
)
def test_the_proxy_follows_from_the_cluster(cluster: str, proxy: str) -> None:
    """Without a wish, Services are in the hands of whoever has them most often there."""
    assert settings_from({"cluster": cluster}).proxy == proxy


def test_options_of_real_clusters_are_told_where_there_is_none() -> None:
    """Each says with which kinds of cluster it goes."""
    given = {"kind": "/k", "node_image": "n", "kubectl": "c", "image": "nginx=x", "cni": "kindnet"}

    with pytest.raises(UsageError) as raised:
        settings_from(given)

    assert str(raised.value).splitlines() == [
        "--kind goes with --cluster kind",
        "--node-image goes with --cluster kind",
        "--kubectl goes with --cluster kind or kubeconfig",
        "--image goes with --cluster kind or kubeconfig",
        "--cni kindnet goes with --cluster kind",
    ]


def test_wrong_images_are_told_together() -> None:
    """Unknown names, names without an image, and names given twice: one sentence."""
    with pytest.raises(UsageError) as raised:
        settings_from({"cluster": "kind", "image": "apache=a,nginx=,workload=b,workload=c"})

    assert str(raised.value) == (
        "--image apache=a, nginx=, workload twice: write NAME=REFERENCE, of workload, enforcer,"
        " nginx"
    )
