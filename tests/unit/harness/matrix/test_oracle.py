"""Who may reach whom, by the specification of NetworkPolicy; each test states one of its rules."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from harness.matrix.oracle import Direction, Judgement, Oracle

Manifest = dict[str, Any]

A1, A2, B1, D1, HOST, NODE1, NODE2 = [
    "10.2.1.1",
    "10.2.1.2",
    "10.2.2.1",
    "10.2.1.9",
    "10.1.0.1",
    "10.1.0.1",
    "10.1.0.2",
]
A1_V6, B1_V6 = "fd00:2:1::1", "fd00:2:2::1"
FINISHED, OUTSIDE = "10.2.1.77", "14.215.0.10"
CLUSTER_IP, CLUSTER_IP_V6 = "10.96.0.1", "fd00:96::1"

WORLD = f"""
- kind: Namespace
  metadata: {{name: a, labels: {{team: red}}}}
- kind: Namespace
  metadata: {{name: b, labels: {{team: blue}}}}
- kind: Namespace
  metadata: {{name: default}}
- kind: Node
  metadata: {{name: n1}}
  status: {{addresses: [{{type: InternalIP, address: {NODE1}}}, {{type: Hostname, address: n1}}]}}
- kind: Node
  metadata: {{name: n2}}
  status: {{addresses: [{{type: InternalIP, address: {NODE2}}}]}}
- kind: Pod
  metadata: {{namespace: a, name: a1, labels: {{app: web, tier: front}}}}
  spec:
    nodeName: n1
    containers:
    - ports:
      - {{name: web, containerPort: 80}}
      - {{name: dns, containerPort: 53, protocol: UDP}}
  status: {{phase: Running, podIP: {A1}, podIPs: [{{ip: {A1}}}, {{ip: "{A1_V6}"}}]}}
- kind: Pod
  metadata: {{namespace: a, name: a2, labels: {{app: db}}}}
  spec:
    nodeName: n1
    containers: [{{ports: [{{name: web, containerPort: 8080}}]}}]
  status: {{phase: Running, podIP: {A2}}}
- kind: Pod
  metadata: {{namespace: b, name: b1, labels: {{app: web}}}}
  spec: {{nodeName: n2}}
  status: {{phase: Running, podIP: {B1}, podIPs: [{{ip: {B1}}}, {{ip: "{B1_V6}"}}]}}
- kind: Pod
  metadata: {{namespace: default, name: d1}}
  spec: {{nodeName: n1}}
  status: {{phase: Running, podIP: {D1}}}
- kind: Pod
  metadata: {{namespace: a, name: host, labels: {{app: host}}}}
  spec: {{nodeName: n1, hostNetwork: true}}
  status: {{phase: Running, podIP: {HOST}}}
- kind: Pod
  metadata: {{namespace: a, name: job, labels: {{app: db}}}}
  spec: {{nodeName: n1}}
  status: {{phase: Succeeded, podIP: {FINISHED}}}
- kind: Service
  metadata: {{namespace: a, name: web}}
  spec:
    clusterIP: {CLUSTER_IP}
    clusterIPs: [{CLUSTER_IP}, "{CLUSTER_IP_V6}"]
    selector: {{app: web}}
    ports: [{{port: 8000, targetPort: web, nodePort: 30080}}]
- kind: Service
  metadata: {{namespace: a, name: headless}}
  spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 80}}]}}
- kind: Service
  metadata: {{namespace: a, name: empty}}
  spec: {{clusterIP: 10.96.0.9, selector: {{app: nobody}}, ports: [{{port: 80}}]}}
"""


def policy(spec: str, *, namespace: str = "a", name: str = "p") -> Manifest:
    """Make a policy of a spec in YAML's flow style."""
    metadata = {"namespace": namespace, "name": name}
    return {"kind": "NetworkPolicy", "metadata": metadata, "spec": yaml.safe_load(spec)}


def judge(
    *specs: str | Manifest,
    client: str = B1,
    server: str = A1,
    port: int = 80,
    protocol: str = "TCP",
) -> Judgement:
    """Ask the oracle, by default whether b/b1 may reach a/a1 on TCP 80."""
    policies = [spec if isinstance(spec, dict) else policy(spec) for spec in specs]
    oracle = Oracle([*yaml.safe_load(WORLD), *policies])
    return oracle.judge(client, server, port, protocol)


def allowed(*specs: str | Manifest, **asked: Any) -> bool:
    """Ask the oracle for its verdict alone."""
    return judge(*specs, **asked).allowed


DENY_IN = "{podSelector: {}, policyTypes: [Ingress]}"
DENY_OUT = "{podSelector: {}, policyTypes: [Egress]}"


def test_no_policy() -> None:
    """Without a policy everybody reaches everybody."""
    assert allowed()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{podSelector: {}}", {Direction.INGRESS}),
        ("{podSelector: {}, egress: []}", {Direction.INGRESS}),
        ("{podSelector: {}, egress: [{}]}", {Direction.INGRESS}),
        ("{podSelector: {}, policyTypes: [Egress]}", {Direction.EGRESS}),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", {Direction.EGRESS}),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", set(Direction)),
    ],
)
def test_directions(spec: str, expected: set[Direction]) -> None:
    """A pod is isolated in the policy's types: by default Ingress, and Egress if it has rules."""
    closed = {
        direction
        for direction, asked in (
            (Direction.INGRESS, {"client": B1, "server": A1}),
            (Direction.EGRESS, {"client": A1, "server": B1}),
        )
        if not allowed(spec, **asked)
    }

    assert expected == closed


def test_egress_rule_isolates_by_default() -> None:
    """Without policyTypes, an egress rule isolates for egress as well."""
    assert not allowed(
        "{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}", client=A1, server=B1
    )


@pytest.mark.parametrize("missing", ["{}", "{from: []}", "{ports: []}", "{from: null}"])
def test_missing_or_empty_lists_of_a_rule(missing: str) -> None:
    """A rule without peers or ports, missing or empty, matches all of them."""
    assert allowed(f"{{podSelector: {{}}, ingress: [{missing}]}}")


@pytest.mark.parametrize("rules", ["", ", ingress: []", ", ingress: null"])
def test_no_rules(rules: str) -> None:
    """A policy without rules, missing or empty, isolates and admits nobody."""
    assert not allowed(f"{{podSelector: {{}}, policyTypes: [Ingress]{rules}}}")


def test_selected_pods_alone() -> None:
    """A pod that the selector does not match is not isolated."""
    spec = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}"

    assert (allowed(spec, server=A1), allowed(spec, server=A2)) == (True, False)


def test_policies_of_other_namespaces() -> None:
    """A policy selects pods of its own namespace alone."""
    assert allowed(policy(DENY_IN, namespace="b"), server=A1)


def test_rules_of_all_policies_add_up() -> None:
    """What any policy admits is admitted."""
    assert allowed(DENY_IN, policy("{podSelector: {}, ingress: [{}]}", name="q"))


def test_both_ends_have_to_agree() -> None:
    """An egress that admits does not replace the ingress, nor the other way round."""
    open_out = policy("{podSelector: {}, egress: [{}], policyTypes: [Egress]}", namespace="b")
    open_in = policy("{podSelector: {}, ingress: [{}]}", name="q")

    assert not allowed(open_out, DENY_IN)
    assert not allowed(open_in, policy(DENY_OUT, namespace="b"))
    assert allowed(open_out, open_in)


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("podSelector: {}", {A2}),
        ("podSelector: {matchLabels: {app: db}}", {A2}),
        ("podSelector: {matchLabels: {app: web}}", set()),
        ("namespaceSelector: {}", {A2, B1, D1}),
        ("namespaceSelector: {matchLabels: {team: blue}}", {B1}),
        ("namespaceSelector: {}, podSelector: {matchLabels: {app: web}}", {B1}),
        ("namespaceSelector: {matchLabels: {team: red}}, podSelector: {}", {A2}),
        ("namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}", {D1}),
        ("namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}", {A2, B1}),
        ("namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}", {D1}),
        (
            "namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [red]}]}",
            {B1, D1},
        ),
        (
            "namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [red]}]}",
            {A2},
        ),
        ("ipBlock: {cidr: 10.2.0.0/16}", {A2, B1, D1}),
        ("ipBlock: {cidr: 10.2.0.0/16, except: [10.2.1.0/29]}", {B1, D1}),
        ("ipBlock: {cidr: 14.215.0.0/16}", {OUTSIDE}),
        ("ipBlock: {cidr: 0.0.0.0/0}", {A2, B1, D1, OUTSIDE, NODE2}),
        ('ipBlock: {cidr: "::/0"}', set()),
    ],
)
def test_peers(peer: str, admitted: set[str]) -> None:
    """A peer is pods of namespaces (both selectors: AND), or addresses of a block without some."""
    spec = f"{{podSelector: {{}}, ingress: [{{from: [{{{peer}}}]}}]}}"
    clients = (A2, B1, D1, OUTSIDE, NODE2)

    assert admitted == {client for client in clients if allowed(spec, client=client)}


def test_several_peers() -> None:
    """One of several peers is enough (OR)."""
    spec = (
        "{podSelector: {}, ingress: [{from: "
        "[{podSelector: {}}, {namespaceSelector: {matchLabels: {team: blue}}}]}]}"
    )

    assert tuple(allowed(spec, client=one) for one in (A2, B1, D1)) == (True, True, False)


@pytest.mark.parametrize(
    ("ports", "admitted"),
    [
        ("[{port: 80}]", {("TCP", 80)}),
        ("[{protocol: UDP, port: 53}]", {("UDP", 53)}),
        ("[{protocol: TCP}]", {("TCP", 80), ("TCP", 6379)}),
        ("[{port: 80, endPort: 7000}]", {("TCP", 80), ("TCP", 6379)}),
        ("[{port: 81, endPort: 6378}]", set()),
        ("[{port: web}]", {("TCP", 80)}),
        ("[{port: dns}]", set()),
        ("[{port: dns, protocol: UDP}]", {("UDP", 53)}),
        ("[{port: nothing}]", set()),
        ("[{protocol: SCTP, port: 9}, {port: 6379}]", {("SCTP", 9), ("TCP", 6379)}),
        ("[{protocol: null, port: 80, endPort: null}]", {("TCP", 80)}),
        ("[{protocol: null, port: null}]", {("TCP", 80), ("TCP", 6379)}),
    ],
)
def test_ports(ports: str, admitted: set[tuple[str, int]]) -> None:
    """Ports: TCP by default, by number, range or the server's own name for it."""
    spec = f"{{podSelector: {{}}, ingress: [{{ports: {ports}}}]}}"
    asked = (("TCP", 80), ("TCP", 6379), ("UDP", 53), ("SCTP", 9), ("ICMP", 0))

    seen = {(p, n) for p, n in asked if allowed(spec, protocol=p, port=n)}
    assert admitted == seen


def test_named_ports_of_egress_are_the_servers() -> None:
    """In an egress rule, a port's name is looked up at the destination pod."""
    spec = "{podSelector: {}, egress: [{ports: [{port: web}]}], policyTypes: [Egress]}"

    assert allowed(spec, client=A1, server=A2, port=8080)
    assert not allowed(spec, client=A1, server=A2, port=80)
    assert not allowed(spec, client=A1, server=OUTSIDE, port=80)


def test_rule_without_ports_admits_every_protocol() -> None:
    """A rule without ports admits every protocol, ICMP included; one with ports does not."""
    assert allowed("{podSelector: {}, ingress: [{}]}", protocol="ICMP", port=0)
    assert not allowed("{podSelector: {}, ingress: [{ports: [{}]}]}", protocol="ICMP", port=0)


@pytest.mark.parametrize(
    ("client", "server"),
    [(A1, A1), (NODE1, A1), (A1, NODE1), (HOST, A2), (A1, HOST), (A1, A1_V6)],
)
def test_always_allowed(client: str, server: str) -> None:
    """A pod reaches itself and its own node, and the node its pods, whatever policies say."""
    both = "{podSelector: {}, policyTypes: [Ingress, Egress]}"

    assert allowed(both, client=client, server=server)


def test_other_nodes_are_peers_like_any_other() -> None:
    """Another node is no exception: it is an address."""
    assert not allowed(DENY_IN, client=NODE2)
    assert not allowed(DENY_OUT, client=A1, server=NODE2)


def test_host_network_pods() -> None:
    """A pod on its host's network is neither selected nor a pod peer: it is its node."""
    everyone = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"

    assert allowed(DENY_IN, client=B1, server=HOST)
    assert not allowed(policy(everyone, namespace="b"), client=HOST, server=B1)


def test_finished_pods_have_no_address() -> None:
    """The address of a pod that is Succeeded or Failed is nobody's."""
    spec = "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"

    assert not allowed(spec, client=FINISHED)
    assert allowed(DENY_IN, server=FINISHED)


def test_ipv6() -> None:
    """Selectors mean pods with all their addresses; blocks mean their own family."""
    by_label = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"
    by_block = '{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "fd00:2::/32"}}]}]}'

    assert allowed(by_label, client=B1_V6, server=A1_V6)
    assert allowed(by_block, client=B1_V6, server=A1_V6)
    assert not allowed(by_block, client=B1, server=A1)


def test_services_are_judged_by_the_true_backend() -> None:
    """A ClusterIP is no peer: the pod behind it is, with its own port."""
    to_pod = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}"
    to_clusterip = (
        "{podSelector: {}, policyTypes: [Egress], "
        f"egress: [{{to: [{{ipBlock: {{cidr: {CLUSTER_IP}/32}}}}]}}]}}"
    )
    service = {"client": A2, "server": CLUSTER_IP, "port": 8000}

    assert allowed(to_pod, **service)
    assert not allowed(to_clusterip, **service)
    assert allowed("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", **service)
    assert not allowed("{podSelector: {}, ingress: [{ports: [{port: 8000}]}]}", **service)


def test_services_of_both_families() -> None:
    """A Service's IPv6 address leads to its pods' IPv6 addresses."""
    assert [
        str(end.address)
        for end in Oracle(yaml.safe_load(WORLD)).world.backends(CLUSTER_IP_V6, 8000, "TCP")
    ] == [A1_V6]


def test_hairpin() -> None:
    """A pod reaches itself through its own Service."""
    both = "{podSelector: {}, policyTypes: [Ingress, Egress]}"

    assert allowed(both, client=A1, server=CLUSTER_IP, port=8000)


def test_service_without_backends() -> None:
    """Behind a Service without ready pods there is nobody to reach."""
    assert not allowed(server="10.96.0.9")


def test_node_port_of_the_backends_own_node() -> None:
    """Through the backend's own node, the true client is judged."""
    spec = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 14.215.0.0/16}}]}]}"

    assert allowed(spec, client=OUTSIDE, server=NODE1, port=30080)
    assert not allowed(spec, client="14.216.0.10", server=NODE1, port=30080)


def test_node_port_of_another_node() -> None:
    """Through another node, which puts its own address there, that node is the peer."""
    from_outside = "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 14.215.0.0/16}}]}]}"
    from_node = f"{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {NODE2}/32}}}}]}}]}}"

    assert not allowed(from_outside, client=OUTSIDE, server=NODE2, port=30080)
    assert allowed(from_node, client=OUTSIDE, server=NODE2, port=30080)


def test_explanation_of_a_denial() -> None:
    """A denial names the direction and the policies that isolate."""
    other = policy(DENY_IN, name="q")
    (reason,) = judge(DENY_IN, other).reasons

    assert (
        reason.direction,
        reason.policies,
        reason.rule,
    ) == (Direction.INGRESS, ("a/p", "a/q"), None)


def test_explanation_of_an_admission() -> None:
    """An admission names the policy and the number of its rule."""
    spec = "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}"
    reasons = judge(spec).reasons

    assert (reasons[-1].policies, reasons[-1].rule) == (("a/p",), 2)
    assert "rule 2 of a/p admits TCP 80 from b/b1" in reasons[-1].sentence
