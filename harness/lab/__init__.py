"""The lab: what rules cost, counted in a virtual machine that counts instructions.

A QEMU guest under ``-accel tcg -icount shift=0,sleep=off`` has a clock that advances by one
nanosecond with each guest instruction. Requests per second in it repeat to a few tenths of a per
cent whatever else the machine does, and its kernel is a distribution's own, with what this
machine's kernel may lack: flowtables, SCTP, IPVS.

``debian`` gets a kernel, ``initrd`` makes it boot, ``machine`` runs it with this machine's files
below a layer in memory, ``cells`` says what is measured, ``rules`` makes the rules of each cell,
``guest`` is what runs inside, and ``study`` puts a run together. Nothing here changes the host.
"""
