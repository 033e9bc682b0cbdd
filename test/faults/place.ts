/** Where the faults of the table happen: a stand-in behind mutual TLS, certificates of every kind, dead ports. */
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readConfig, type ServerAddress, type Variables } from "../../config.ts";
import { ModelServer } from "../../server/model-server.ts";
import {
  type Authority,
  type Certificate,
  issue,
  makeAuthority,
  writePemFiles,
} from "../../sim/certificates.ts";
import { type Sim, startSim } from "../../sim/server.ts";
import { FakeClock } from "../support/clock.ts";
import { freePort, silentServer, type TcpServer } from "../support/network.ts";
import { model } from "../support/samples.ts";
import { type Answer, beginTurn, FakeServer, turnOn } from "../support/turns.ts";

const CONFIG = `
models:
  thinker: { cmd: "llama-server --port \${PORT} -m /models/thinker.gguf" }
`;

export class FaultPlace {
  readonly encryptedKey: string;
  readonly old: Certificate;
  readonly future: Certificate;
  readonly plainUrl: string;
  readonly silentUrl: string;
  readonly #folder: string;
  readonly #authority: Authority;
  readonly #sims: { mutual: Sim; plain: Sim };
  readonly #silent: TcpServer;
  #count = 0;

  private constructor(
    folder: string,
    authority: Authority,
    certificates: { old: Certificate; future: Certificate },
    sims: { mutual: Sim; plain: Sim },
    silent: TcpServer,
  ) {
    this.#folder = folder;
    this.#authority = authority;
    this.#sims = sims;
    this.#silent = silent;
    this.old = certificates.old;
    this.future = certificates.future;
    this.plainUrl = sims.plain.url.replace("http:", "https:");
    this.silentUrl = `https://127.0.0.1:${silent.port}`;
    this.encryptedKey = createPrivateKey(this.read("client-key.pem"))
      .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "right" })
      .toString();
  }

  static async open(): Promise<FaultPlace> {
    const folder = mkdtempSync(join(tmpdir(), "faults-test-"));
    const [authority, other] = await Promise.all([makeAuthority("Test CA"), makeAuthority("Another CA")]);
    const client = { commonName: "client", usage: "client" } as const;
    const at = (from: string, to: string) => ({ notBefore: new Date(from), notAfter: new Date(to) });
    const [server, right, stranger, old, future] = await Promise.all([
      issue(authority, { commonName: "server", names: ["127.0.0.1"], usage: "server" }),
      issue(authority, client),
      issue(other, client),
      issue(authority, { ...client, ...at("2020-01-01", "2020-02-01") }),
      issue(authority, { ...client, ...at("2099-01-01", "2099-02-01") }),
    ]);
    writePemFiles(join(folder, "certs"), {
      "root-ca.pem": authority.cert,
      "other-ca.pem": other.cert,
      "server.pem": server.cert,
      "server-key.pem": server.key,
      "client.pem": right.cert,
      "client-key.pem": right.key,
      "stranger-key.pem": stranger.key,
    });
    const sims = {
      mutual: await startSim({ dir: folder, config: CONFIG }),
      plain: await startSim({ config: CONFIG, tls: "none" }),
    };
    return new FaultPlace(folder, authority, { old, future }, sims, await silentServer());
  }

  async close(): Promise<void> {
    await Promise.all([this.#sims.mutual.close(), this.#sims.plain.close(), this.#silent.stop()]);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The right certificate's file. */
  read(name: string): string {
    return readFileSync(join(this.#folder, "certs", name), "utf8");
  }

  /** Where requests go whose faults are made up, as it stands in their sentences. */
  get address(): ServerAddress {
    return readConfig({ AI_SERVER_URL: "https://127.0.0.1:9", AI_SERVER_CERTS_DIR: "/certs" }, {}, "/");
  }

  async deadUrl(): Promise<string> {
    return `https://127.0.0.1:${await freePort()}`;
  }

  /** A turn with the right certificates but for these files; undefined takes one away. */
  async certificates(changes: Record<string, string | undefined>, env: Variables = {}): Promise<string> {
    this.#count += 1;
    const dir = join(this.#folder, `changed-${this.#count}`);
    await mkdir(dir);
    await cp(join(this.#folder, "certs"), dir, { recursive: true });
    symlinkSync("loop.pem", join(dir, "loop.pem"));
    for (const [name, content] of Object.entries(changes)) {
      if (content === undefined) await rm(join(dir, name));
      else await writeFile(join(dir, name), content);
    }
    return this.#turn({ AI_SERVER_URL: this.#sims.mutual.url, AI_SERVER_CERTS_DIR: dir, ...env }, dir);
  }

  /** A turn with a server that shows a certificate with these features. */
  async served(features: { names?: string[]; notBefore?: Date; notAfter?: Date }): Promise<string> {
    const serverCertificate = await issue(this.#authority, {
      commonName: "server",
      names: ["127.0.0.1"],
      usage: "server",
      ...features,
    });
    const sim = await startSim({ dir: this.#folder, serverCertificate });
    try {
      const dir = join(this.#folder, "certs");
      return await this.#turn({ AI_SERVER_URL: sim.url, AI_SERVER_CERTS_DIR: dir }, dir);
    } finally {
      await sim.close();
    }
  }

  /** A turn that gets these answers. */
  async answered(
    answers: readonly Answer[],
    more: { state?: FakeServer["state"]; log?: string[]; name?: string; env?: Variables },
  ): Promise<string> {
    const clock = new FakeClock();
    const server = new FakeServer(clock, more.env);
    server.answers.push(...answers);
    if ("state" in more) server.state = more.state;
    server.log = more.log ?? [];
    const { message } = await turnOn(server, clock, { on: model({ name: more.name ?? "thinker" }) });
    return (message.errorMessage ?? "")
      .replaceAll("/certs", "DIR")
      .replaceAll("127.0.0.1:9", "127.0.0.1:PORT");
  }

  async #turn(env: Variables, dir: string): Promise<string> {
    const clock = { now: Date.now, sleep: () => Promise.resolve() };
    const open: ModelServer[] = [];
    const server = async (): Promise<ModelServer> => {
      const made = new ModelServer(readConfig(env, {}, this.#folder));
      open.push(made);
      return made;
    };
    const watch = { now: Date.now, sleep: (_: number, signal: AbortSignal) => untilAborted(signal) };
    const { message } = await beginTurn(new FakeServer(new FakeClock()), {
      clock: { ...clock, ...watch },
      parts: { server },
    }).ended;
    await Promise.all(open.map((made) => made.close()));
    const today = new Date().toISOString().slice(0, 10);
    return (message.errorMessage ?? "")
      .replace(loosely(dir), "DIR")
      .replace(loosely(today), "TODAY")
      .replace(/(127\.0\.0\.1):[\d\u2060]+/g, "$1:PORT");
  }
}

/** The text wherever it stands, also with word joiners in it: a port or a folder may have a 503 in its name. */
function loosely(text: string): RegExp {
  return new RegExp([...text].map((letter) => letter.replace(/\W/, "\\$&")).join("\u2060*"), "g");
}

/** No time passes here: what waits is waited for until the turn is over. */
function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
