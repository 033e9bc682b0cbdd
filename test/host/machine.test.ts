import { describe } from "vitest";
import type { ShellSettings } from "../../host/shell.ts";
import { LocalHost } from "../support/local-host.ts";
import { machineSuite } from "../support/machine-suite.ts";

describe.each(["direct", "wrapper"] as const)("%s", (mode) => {
  machineSuite((text) => {
    const host = new LocalHost(text);
    const machine = host.machine.bind(host);
    return Object.assign(host, { machine: (change?: Partial<ShellSettings>) => machine(mode, change) });
  });
});
