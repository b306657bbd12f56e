"""A model of kube-router 0.2.0's rule layout: the study's baseline where no binary is at hand.

Written from a description of the layout, with nothing of kube-router's code. What is modelled is
where its rules are and when they end a packet's way; what NetworkPolicy means is taken by the book
(IPv4 only), so that whatever ends wrong is the layout's doing::

    FORWARD -d POD                          }
    FORWARD -d POD  physdev-is-bridged      }  pods that are isolated for ingress
    OUTPUT  -d POD                          }
    FORWARD -s POD                          }  pods that are isolated for egress:
    FORWARD -s POD  physdev-is-bridged      }  FORWARD alone
              │
              ▼
    KUBE-POD-FW-…   established, related: ACCEPT
                    from an address of this node: ACCEPT
                    one jump for each policy that selects the pod ──▶ KUBE-NWPLCY-…
                    REJECT                                            set src, set dst,
                                                                      protocol, port: ACCEPT

Three holes follow from it, and the study's failed row is one of them: a bridge that does not show
its frames to iptables (bridge-nf-call-iptables 0) hides a node's own pods from each other's rules;
the ACCEPT for a client's egress ends the way before the server's ingress is asked; and no rule asks
a client's egress where a proxy on the node sends on in its name, which leaves by OUTPUT.

:mod:`~harness.enforcers.kube_router_model.enforcer` runs it; ``__main__`` is a node's daemon:
``mirror`` (list and watch), ``world`` (who is selected), ``layout`` (the rules), ``kernel`` (ipset
and iptables-restore). The daemon's CPU is not modelled: 0.2.0 forked once for each rule and took
seconds for a sync; this one restores the table as a whole.
"""
