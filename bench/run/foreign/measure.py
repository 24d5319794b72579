"""Measure a way to stop a service of somebody else, in a process of its own."""

import re
from collections.abc import Iterable, Sequence

from bench.record.host import describe_commit
from bench.run.code_check import folder_of
from bench.run.foreign.check import describe_target, verify
from bench.run.meter import Measured, Subject
from bench.run.rig import RunContext
from bench.run.target_process import started
from bench.system.environment import URL_VARIABLES
from bench.system.procs import Child, ChildError
from bench.workload.plan import Case, contender_of


def measure_foreign(context: RunContext, cases: Sequence[Case], block: int, measured: Measured) -> None:
    """Start the service, check it in the first block, and measure the cases of one way to stop it.

    A side with a checkout is started from there; the target file, and the files that it names, are those of the case.
    Raises ChildError when it cannot be measured, unless the settings leave such a service out.
    """
    rig, settings, manifests = context.rig, context.settings, context.manifests
    contender = contender_of(cases[0])
    context.say(f"starting {contender.service}")
    log = measured.results.logs / f"{re.sub(r'[:/]', '-', contender.name)}.log"
    side, checkout = measured.side, measured.side.checkout
    try:
        with started(
            contender,
            mock=rig.mock.url,
            stores={kind: context.stores[kind] for kind in contender.needs},
            log=log,
            url=settings.url,
            here=checkout,
            namespace=context.namespace_of(measured),
        ) as target:
            if checkout is not None and isinstance(target.service, Child):
                (manifest,) = (each for each in manifests if each.side == side.name)
                manifest.code = folder_of(target.service, checkout)
            for manifest in manifests:
                manifest.targets[contender.service] = describe_target(contender, target)
            if block == 0:
                context.say(f"checking {contender.name}")
                verify(rig.mock, rig.load, target, contender)
            for case in cases:
                rig.meter.measure(case, block, Subject(target.service, [measured], values=target.values))
    except ChildError as error:
        if checkout is not None:
            raise ChildError(f"{side.name} ({str(describe_commit(checkout)[0])[:7]}): {error}") from error
        if not settings.leaves_out_unfit:
            raise
        rig.mock.check()
        why = str(error).splitlines()[0]
        context.say(f"left out: {why}")
        manifests[0].left_out.append(why)


def stores_of(cases: Iterable[Case]) -> set[str]:
    """The kinds of stores that must be started."""
    cases = list(cases)
    kinds = {case.store for case in cases if case.store in URL_VARIABLES}
    return {str(kind) for kind in kinds}.union(*(contender_of(case).needs for case in cases if case.foreign))
