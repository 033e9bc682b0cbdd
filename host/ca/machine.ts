/** The verbs of `ai-server-ca` with types. Begin here for the machine that has the CA. */
import type { Answer, HostRequest } from "../ssh/protocol.ts";
import { valueFor } from "../ssh/protocol.ts";
import type { Shell, ShellSettings } from "../ssh/shell.ts";
import { HostError } from "../ssh/ssh-faults.ts";
import { caFault } from "./ca-faults.ts";
import { type CaddyFacts, caddyIn, contentAfter, type DeviceList, decoded, listIn } from "./devices.ts";

/** Milliseconds. What changes the list waits for a lock and for Caddy; a CA is made of four keys and signatures. */
const READ_MS = 30_000;
const CHANGE_MS = 60_000;

/** The machine of the CA, and what is set for it. */
export interface CaSettings {
  host: string;
  folder: string;
  reloadCommand: string | undefined;
}

export interface Signed {
  serial: string;
  /** PEM. */
  certificate: string;
  authority: string;
}

/** What making a CA has left on its machine. */
export interface Created {
  folder: string;
  authority: string;
  caddy: CaddyFacts;
}

type Asker = Pick<Shell, "ask" | "close">;

/**
 * Whether the key there has a shell or is tied to `ai-server-ca` shows the first call. Every method rejects with a
 * `HostError`, or with the signal's reason.
 */
export class CaMachine {
  readonly settings: CaSettings;
  readonly #open: (mode: ShellSettings["mode"]) => Asker;
  #shell: Asker;
  #isForced = false;

  /** @param open a way to the machine, for a key with a shell or one that is tied to `ai-server-ca` */
  constructor(settings: CaSettings, open: (mode: ShellSettings["mode"]) => Asker) {
    this.settings = settings;
    this.#open = open;
    this.#shell = open("direct");
  }

  /** What the CA has signed; or, where there is no CA, the folder in which one can be made. */
  async list(signal?: AbortSignal): Promise<DeviceList | { missingIn: string }> {
    return listIn(await this.#ask({ verb: ["list"] }, READ_MS, signal));
  }

  /**
   * Has a request signed, puts the device on the list, and has Caddy read it: all of it, or nothing.
   *
   * @param request PEM, for the subject `CN=<name>`
   * @param replaces serial of the certificate of the same name that stays valid until it is revoked
   */
  async sign(
    name: string,
    request: string,
    { replaces, passphrase }: { replaces?: string | undefined; passphrase?: string | undefined },
    signal?: AbortSignal,
  ): Promise<Signed> {
    const verb: HostRequest["verb"] = replaces === undefined ? ["sign"] : ["sign", replaces];
    const answer = await this.#ask(
      { verb, name, content: Buffer.from(request) },
      CHANGE_MS,
      signal,
      passphrase,
    );
    const serial = valueFor(answer.lines, "serial");
    const certificate = contentAfter(answer.lines, "device");
    const authority = contentAfter(answer.lines, "authority");
    if (serial === undefined || certificate === undefined || authority === undefined) {
      throw this.#fault("incomplete", "");
    }
    return { serial, certificate, authority };
  }

  /**
   * Takes a device off the list and has Caddy read it; where Caddy refuses that, it is on the list again.
   *
   * @returns whether there was a Caddy that reads the list
   */
  async revoke(serial: string, signal?: AbortSignal): Promise<boolean> {
    const { lines } = await this.#ask({ verb: ["revoke", serial] }, CHANGE_MS, signal);
    return valueFor(lines, "reloaded") !== "no";
  }

  /** Undoes a `revoke` of the last ten minutes. */
  async putBack(serial: string, signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["revoke", serial, "back"] }, CHANGE_MS, signal);
  }

  /** Has Caddy read the list again. */
  async reload(signal?: AbortSignal): Promise<void> {
    await this.#ask({ verb: ["reload"] }, CHANGE_MS, signal);
  }

  /** Makes a CA, and a certificate for the server. @param server name or IPv4 address */
  async create(server: string, signal?: AbortSignal): Promise<Created> {
    const { lines } = await this.#ask({ verb: ["create"], name: server }, CHANGE_MS, signal);
    return {
      folder: decoded(valueFor(lines, "folder")),
      authority: contentAfter(lines, "authority") ?? "",
      caddy: caddyIn(lines),
    };
  }

  close(): Promise<void> {
    return this.#shell.close();
  }

  async #ask(
    request: Omit<HostRequest, "ca">,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    passphrase?: string,
  ): Promise<Answer> {
    const { folder, reloadCommand } = this.settings;
    const ca = { folder, reloadCommand, passphrase };
    const answer = await this.#answerTo({ ...request, ca }, { timeoutMs, signal });
    if (answer.error !== undefined) throw this.#fault(answer.error, answer.detail);
    return answer;
  }

  async #answerTo(
    request: HostRequest,
    limits: { timeoutMs: number; signal: AbortSignal | undefined },
  ): Promise<Answer> {
    try {
      return await this.#shell.ask(request, limits);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      if (error.code === "forced-admin") throw this.#otherKey(error);
      if (error.code !== "forced-ca" || this.#isForced) throw error;
      // Refused before anything was done: a script is no verb.
      this.#isForced = true;
      await this.#shell.close();
      this.#shell = this.#open("wrapper");
      return this.#shell.ask(request, limits);
    }
  }

  #otherKey(cause: HostError): HostError {
    return new HostError(
      `The ssh key for ${this.settings.host} may only run ai-server-admin, which signs nothing. Set AI_SERVER_CA_HOST to an ssh target whose key may run ai-server-ca, or has a shell.`,
      cause.code,
      { link: "ssh", cause },
    );
  }

  #fault(code: string, detail: string): HostError {
    const { host, folder } = this.settings;
    const where = host === "local" ? "on this machine" : `on ${host}`;
    return caFault(
      code,
      detail,
      this.#isForced
        ? {
            where,
            folder: "ai-server-ca's folder",
            folderSetting: "ca_folder in ai-server-ca",
            reloadSetting: "reload_command in ai-server-ca",
          }
        : {
            where,
            folder,
            folderSetting: "AI_SERVER_CA_DIR",
            reloadSetting: "AI_SERVER_CADDY_RELOAD",
          },
    );
  }
}
