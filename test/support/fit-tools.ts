import type { Place } from "./command-place.ts";

/** What the tool's `--help` says, as far as it counts. */
export const FIT_HELP = "--model FNAME\n--parallel N\n--cache-type-k TYPE\n--offline\n--fit-print [on|off]";

/**
 * Puts programs onto a place's machine that stand in for llama.cpp's: one device of 24 GiB, on which every model takes
 * 1000 MiB, one MiB for 32 tokens, and 100 MiB.
 *
 * @param freeMiB of the device
 */
export function installFitTools(place: Place, freeMiB = 24_000): void {
  place.tool("llama-server", `echo '  Vulkan0: Radeon (24576 MiB, ${freeMiB} MiB free)'`);
  place.tool(
    "llama-fit-params",
    `case $* in --help) echo '${FIT_HELP}'; exit ;; esac
for word; do case $last in --ctx-size) c=$word ;; esac; last=$word; done
echo "Vulkan0 1000 $((c / 32)) 100 "
echo "Host 50 0 9 "`,
  );
}
