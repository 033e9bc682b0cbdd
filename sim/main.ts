// The stand-in as a program: node sim/main.ts --dir FOLDER [--port N] [--tls mutual|server|none] [--speed N]
import { writeSync } from "node:fs";
import { parseArgs } from "node:util";
import { ConfigError } from "./config.ts";
import { type SimOptions, startSim } from "./server.ts";

const { values } = parseArgs({
  options: {
    dir: { type: "string" },
    port: { type: "string" },
    tls: { type: "string", default: "mutual" },
    speed: { type: "string", default: "1" },
  },
});

function fail(message: string): never {
  writeSync(2, `${message}\n`);
  process.exit(1);
}

if (values.dir === undefined)
  fail("usage: node sim/main.ts --dir FOLDER [--port N] [--tls mutual|server|none]");
if (!["mutual", "server", "none"].includes(values.tls)) fail(`--tls: unknown mode ${values.tls}`);

try {
  const sim = await startSim({
    dir: values.dir,
    tls: values.tls as NonNullable<SimOptions["tls"]>,
    port: Number(values.port ?? 0),
    speed: Number(values.speed),
  });
  process.on("SIGHUP", () => void sim.reload());
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void sim.close());
  writeSync(1, `listening on ${sim.url}\n`);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  const time = new Date().toISOString().slice(0, 19).replaceAll("-", "/").replace("T", " ");
  const about = `config=${values.dir}/config.yaml config-dir="" error=${JSON.stringify(error.message)}`;
  fail(`${time} ERROR failed to load config ${about}`);
}
