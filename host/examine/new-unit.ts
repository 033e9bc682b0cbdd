/** The text of a user unit for a server that has none: that of docs/server.md, with this machine's paths. Pure. */

export interface NewUnit {
  kind: "llama-swap" | "router";
  /** Of llama-swap or llama-server, on the server. */
  program: string;
  /** As AI_SERVER_PRESET_PATH has it. */
  configPath: string;
  /** The home of the server's user. */
  home: string;
}

/** @returns undefined where a path cannot be part of a unit, or the config is a folder */
export function newUnit({ kind, program, configPath, home }: NewUnit): string | undefined {
  const isFile = kind === "router" ? /\.ini$/i.test(configPath) : /\.ya?ml$/i.test(configPath);
  // systemd takes none of these in the path of a program, and reads no $$ there.
  const isProgram = !/["'\\$]/.test(program);
  const start = wordOf(program, home);
  const config = wordOf(configPath, home);
  if (!isFile || !isProgram || start === undefined || config === undefined) return undefined;
  return kind === "llama-swap" ? llamaSwap(start, config) : router(start, config);
}

function llamaSwap(program: string, config: string): string {
  return `[Unit]
Description=llama-swap, the AI server
Documentation=https://github.com/mostlygeek/llama-swap

[Service]
ExecStart=${program} -config ${config} -listen :8080
Restart=on-failure
RestartSec=5
TimeoutStopSec=45

[Install]
WantedBy=default.target
`;
}

function router(program: string, config: string): string {
  return `[Unit]
Description=llama.cpp's router

[Service]
ExecStart=${program} --host 0.0.0.0 --port 8080 --models-preset ${config} --models-max 1 --models-autoload
Restart=on-failure
RestartSec=5

[Install]
WantedBy=default.target
`;
}

/** A path as one word of ExecStart= (systemd.service(5), "Command lines"); undefined where it is no plain path. */
function wordOf(path: string, home: string): string | undefined {
  const under = path.startsWith("~/")
    ? path.slice(2)
    : path.startsWith(`${home}/`)
      ? path.slice(home.length + 1)
      : undefined;
  if (/\p{C}/u.test(path) || (under === undefined && !path.startsWith("/"))) return undefined;
  const escaped = (under ?? path).replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("$", "$$$$");
  const whole = under === undefined ? escaped : `%h/${escaped}`;
  return /[\s'"\\;]/.test(whole) ? `"${whole}"` : whole;
}
