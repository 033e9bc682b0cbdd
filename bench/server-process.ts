/** Starts and asks the benchmarks' server. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Handshakes {
  /** TLS handshakes since the server was started. */
  total: number;
  /** Those of them that resumed a session. */
  resumed: number;
}

export type Question = "handshakes" | "close idle connections";
export type Answer = { port: number } | { handshakes: Handshakes };

const PROGRAM = fileURLToPath(new URL("./server.ts", import.meta.url));

export class BenchServer {
  readonly url: string;
  readonly certsDir: string;
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, port: number, certsDir: string) {
    this.#process = process;
    this.url = `https://127.0.0.1:${port}`;
    this.certsDir = certsDir;
  }

  /** @param certsDir a folder made by `writeCertificateSet` */
  static async start(certsDir: string): Promise<BenchServer> {
    const child = fork(PROGRAM, [certsDir], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const answer = await nextAnswer(child);
    if (!("port" in answer)) throw new Error("The benchmark's server did not report its port");
    return new BenchServer(child, answer.port, certsDir);
  }

  /** The variables of a client of this server. */
  get env(): Record<string, string> {
    return { AI_SERVER_URL: this.url, AI_SERVER_CERTS_DIR: this.certsDir, AI_SERVER_SSH_HOST: "local" };
  }

  async #ask(question: Question): Promise<Handshakes> {
    this.#process.send(question);
    const answer = await nextAnswer(this.#process);
    if (!("handshakes" in answer)) throw new Error(`The benchmark's server did not answer "${question}"`);
    return answer.handshakes;
  }

  handshakes(): Promise<Handshakes> {
    return this.#ask("handshakes");
  }

  /** Closes every connection on which no request is under way. */
  closeIdleConnections(): Promise<Handshakes> {
    return this.#ask("close idle connections");
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = once(this.#process, "exit");
    this.#process.kill();
    await ended;
  }
}

async function nextAnswer(child: ChildProcess): Promise<Answer> {
  const gone = new AbortController();
  const exited = (): void => gone.abort(new Error("The benchmark's server ended"));
  child.once("exit", exited);
  try {
    const [answer] = (await once(child, "message", { signal: gone.signal })) as [Answer];
    return answer;
  } finally {
    child.off("exit", exited);
  }
}
