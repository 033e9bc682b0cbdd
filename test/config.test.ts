import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Config, isSetUp, MODELS, readConfig, routeFor, type Variables } from "../config.ts";
import { ServerError } from "../lib/errors.ts";

const AGENT_DIR = "/home/user/.pi/agent";
const HOME = "/home/user";

function read(env: Variables = {}, stored: Variables = {}): Config {
  return readConfig(env, stored, AGENT_DIR, HOME);
}

/** The sentence with which a variable is refused. */
function refusal(env: Variables, stored: Variables = {}): string {
  try {
    read(env, stored);
  } catch (error) {
    if (error instanceof ServerError && error.link === "configuration" && error.remedy === "none") {
      return error.message;
    }
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(env)}`);
}

test("without any variable everything has the default of the manual", () => {
  expect(read()).toEqual({
    origin: "https://ai.shahondin1624.de",
    basePath: "",
    ca: "/home/user/.pi/agent/certs/root-ca.pem",
    clientCert: "/home/user/.pi/agent/certs/client.pem",
    clientKey: "/home/user/.pi/agent/certs/client-key.pem",
    passphrase: undefined,
    apiKey: undefined,
    timeoutMs: 300_000,
    connectTimeoutMs: 10_000,
    loadTimeoutMs: 600_000,
    isLoopGuarded: true,
    warm: "off",
    sshHost: "ai-server@192.168.2.3",
    modelsDir: "~/models",
    presetPath: "~/.config/llama-swap/config.yaml",
    serviceUnit: "llama-swap.service",
    isPresetPathSet: false,
    isServiceUnitSet: false,
    sshMode: "direct",
    sshTimeoutMs: 10_000,
    restartTimeoutMs: 60_000,
    restartCommand: undefined,
    caHost: "ai-server@192.168.2.3",
    caDir: "~/ai-server-ca",
    caddyReload: undefined,
    modelsPath: "/v1/models",
    runningPath: "/running",
    unloadPath: "/api/models/unload/<id>",
    unloadAllPath: "/api/models/unload",
    upstreamHealthPath: "/upstream/<id>/health",
    isDefaultUrl: true,
  });
  expect(MODELS.map(({ id }) => id)).not.toEqual([]);
});

/** Each variable with two values that are not its default, and the field of the configuration that it sets. */
const VARIABLES: [name: string, field: keyof Config, first: string, second: string][] = [
  ["AI_SERVER_URL", "origin", "https://one.example", "https://two.example:8443"],
  ["AI_SERVER_CA", "ca", "/one/ca.pem", "/two/ca.pem"],
  ["AI_SERVER_CLIENT_CERT", "clientCert", "/one/client.pem", "/two/client.pem"],
  ["AI_SERVER_CLIENT_KEY", "clientKey", "/one/key.pem", "/two/key.pem"],
  ["AI_SERVER_CLIENT_KEY_PASSPHRASE", "passphrase", "one", "two"],
  ["AI_SERVER_API_KEY", "apiKey", "sk-one", "sk-two"],
  ["AI_SERVER_TIMEOUT_MS", "timeoutMs", "1001", "1002"],
  ["AI_SERVER_CONNECT_TIMEOUT_MS", "connectTimeoutMs", "1001", "1002"],
  ["AI_SERVER_LOAD_TIMEOUT_MS", "loadTimeoutMs", "1001", "1002"],
  ["AI_SERVER_SSH_HOST", "sshHost", "user@one", "local"],
  ["AI_SERVER_PRESET_PATH", "presetPath", "/one.yaml", "~/two.yaml"],
  ["AI_SERVER_MODELS_DIR", "modelsDir", "/one", "~/two"],
  ["AI_SERVER_SERVICE_UNIT", "serviceUnit", "one.service", "two@x.service"],
  ["AI_SERVER_SSH_TIMEOUT_MS", "sshTimeoutMs", "1001", "1002"],
  ["AI_SERVER_RESTART_TIMEOUT_MS", "restartTimeoutMs", "1001", "1002"],
  ["AI_SERVER_RESTART_COMMAND", "restartCommand", "docker restart one", "docker restart two"],
  ["AI_SERVER_CA_HOST", "caHost", "user@ca", "local"],
  ["AI_SERVER_CA_DIR", "caDir", "/srv/ca", "~/ca"],
  ["AI_SERVER_CADDY_RELOAD", "caddyReload", "sudo systemctl restart caddy", "docker restart caddy"],
  ["AI_SERVER_MODELS_PATH", "modelsPath", "/one", "/two"],
  ["AI_SERVER_RUNNING_PATH", "runningPath", "/one", "/two"],
  ["AI_SERVER_UNLOAD_PATH", "unloadPath", "/one/<id>", "/two"],
  ["AI_SERVER_UNLOAD_ALL_PATH", "unloadAllPath", "/one", "/two"],
  ["AI_SERVER_UPSTREAM_HEALTH_PATH", "upstreamHealthPath", "/one/<id>/h", "/two"],
];

describe.each(VARIABLES)("%s", (name, field, first, second) => {
  const asRead = (value: string): unknown => (field.endsWith("Ms") ? Number(value) : value);

  test("comes from the environment, then from what was stored, then from the default", () => {
    const standard = read()[field];
    expect(read({ [name]: first }, { [name]: second })[field]).toBe(asRead(first));
    expect(read({}, { [name]: second })[field]).toBe(asRead(second));
    expect(read()[field]).toBe(standard);
    expect([asRead(first), asRead(second)]).not.toContain(standard);
  });

  test("counts as unset when it is empty", () => {
    expect(read({ [name]: "" }, { [name]: second })[field]).toBe(asRead(second));
    expect(read({ [name]: "" }, { [name]: "" })[field]).toBe(read()[field]);
  });
});

test.each([
  "AI_SERVER_URL",
  "AI_SERVER_CA",
  "AI_SERVER_TIMEOUT_MS",
  "AI_SERVER_SSH_HOST",
  "AI_SERVER_MODELS_PATH",
])("%s of spaces alone counts as unset", (name) => {
  expect(read({ [name]: " \t" })).toEqual(read());
});

test("spaces around a value are dropped, except those of a passphrase", () => {
  expect(read({ AI_SERVER_URL: " https://one.example\n" }).origin).toBe("https://one.example");
  expect(read({ AI_SERVER_CLIENT_KEY_PASSPHRASE: " two words " }).passphrase).toBe(" two words ");
});

describe("the paths of local files", () => {
  test("are relative to the certificate folder, and that to pi's agent folder", () => {
    const config = read({ AI_SERVER_CERTS_DIR: "mine", AI_SERVER_CLIENT_CERT: "sub/me.pem" });
    expect(config.clientCert).toBe("/home/user/.pi/agent/mine/sub/me.pem");
    expect(config.clientKey).toBe("/home/user/.pi/agent/mine/client-key.pem");
    expect(config.ca).toBe("/home/user/.pi/agent/mine/root-ca.pem");
  });

  test("begin with this user's home where they begin with a tilde", () => {
    expect(read({ AI_SERVER_CERTS_DIR: "~/certs" }).ca).toBe("/home/user/certs/root-ca.pem");
    expect(read({ AI_SERVER_CERTS_DIR: "~" }).ca).toBe("/home/user/root-ca.pem");
    expect(read({ AI_SERVER_CA: "~/ca.pem" }).ca).toBe("/home/user/ca.pem");
    expect(read({ AI_SERVER_CLIENT_KEY: "~other/key.pem" }).clientKey).toBe(
      "/home/user/.pi/agent/certs/~other/key.pem",
    );
  });

  test("stay what they are where they are absolute", () => {
    const config = read({ AI_SERVER_CERTS_DIR: "/etc/certs", AI_SERVER_CLIENT_KEY: "/run/key.pem" });
    expect([config.clientCert, config.clientKey]).toEqual(["/etc/certs/client.pem", "/run/key.pem"]);
  });

  test("AI_SERVER_CA=system is no file", () => {
    expect(read({ AI_SERVER_CA: "system", AI_SERVER_CERTS_DIR: "/etc/certs" }).ca).toBe("system");
    expect(read({ AI_SERVER_CA: "./system" }).ca).toBe("/home/user/.pi/agent/certs/system");
  });

  test("the tilde of AI_SERVER_PRESET_PATH is the server's and stays", () => {
    expect(read({ AI_SERVER_PRESET_PATH: "~/llama swap/it's.yaml" }).presetPath).toBe(
      "~/llama swap/it's.yaml",
    );
  });
});

describe("AI_SERVER_URL", () => {
  test.each([
    ["https://ai.example.org", "https://ai.example.org", ""],
    ["https://ai.example.org/", "https://ai.example.org", ""],
    ["https://AI.example.org:443/llm/", "https://ai.example.org", "/llm"],
    ["https://ai.example.org:8443/a/b%20c//", "https://ai.example.org:8443", "/a/b%20c"],
    ["https://ai.example.org/über", "https://ai.example.org", "/%C3%BCber"],
    ["https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443", ""],
    ["http://127.0.0.1:9292", "http://127.0.0.1:9292", ""],
    ["http://127.9.8.7", "http://127.9.8.7", ""],
    ["http://[::1]:9292/x", "http://[::1]:9292", "/x"],
    ["http://localhost:9292", "http://localhost:9292", ""],
    ["http://127.1", "http://127.0.0.1", ""],
  ])("%s is %s with the path %s", (url, origin, basePath) => {
    expect(read({ AI_SERVER_URL: url })).toMatchObject({ origin, basePath });
  });

  test.each([
    "http://ai.example.org",
    "http://127.evil.com",
    "http://127.0.0.1.evil.com",
    "http://0.0.0.0",
    "http://localhost.evil.com",
    "http://192.168.2.3:9292",
    "http://[::]",
    "http://[::ffff:192.168.2.3]",
    "http://1",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    "ai.example.org:8443",
  ])("%s is refused", (url) => {
    expect(refusal({ AI_SERVER_URL: url })).toBe(
      `AI_SERVER_URL is "${url}": it must begin with https: (http: is only for addresses of this machine).`,
    );
  });

  test.each(["ai.example.org", "https://", "https://ai example.org", "https://ai.example.org:99999"])(
    "%s is no URL",
    (url) => {
      expect(refusal({}, { AI_SERVER_URL: url })).toBe(
        `AI_SERVER_URL is "${url}": that is not a URL. Write it like https://ai.example.org`,
      );
    },
  );

  test.each(["https://ai.example.org/?x=1", "https://ai.example.org/#x"])("%s has too much", (url) => {
    expect(refusal({ AI_SERVER_URL: url })).toBe(
      `AI_SERVER_URL is "${url}": leave out everything from the ? or # on.`,
    );
  });

  test.each([
    "https://user:hunter2@ai.example.org",
    "https://hunter2@ai.example.org",
    "http://user:hunter2@127.0.0.1",
    "https://user:hunter2@ai.example.org:99999",
    "https://user:hunter2@ai example.org",
    "user:hunter2@ai.example.org",
    "ftp://user:hunter2@ai.example.org/?x",
  ])("%s is refused and the password not repeated", (url) => {
    const sentence = refusal({ AI_SERVER_URL: url });
    expect(sentence).toMatch(/^AI_SERVER_URL contains a user name or password\. Leave it out/);
    expect(sentence).not.toContain("hunter2");
  });

  test.each([
    "https://ai.shahondin1624.de",
    "https://ai.shahondin1624.de/",
    "https://AI.shahondin1624.de:443",
  ])("%s is the default server", (url) => {
    expect(read({ AI_SERVER_URL: url }).isDefaultUrl).toBe(true);
  });

  test.each(["https://ai.shahondin1624.de/llm", "https://ai.shahondin1624.de:8443", "https://other.example"])(
    "%s is not",
    (url) => {
      expect(read({ AI_SERVER_URL: url }).isDefaultUrl).toBe(false);
    },
  );

  test("another server never gets the default's ssh target", () => {
    const AI_SERVER_URL = "https://other.example";
    expect(read({ AI_SERVER_URL }).sshHost).toBeUndefined();
    expect(read({}, { AI_SERVER_URL }).sshHost).toBeUndefined();
    expect(read({ AI_SERVER_URL, AI_SERVER_SSH_HOST: "me@other" }).sshHost).toBe("me@other");
    expect(read({ AI_SERVER_URL: "https://ai.shahondin1624.de" }).sshHost).toBe("ai-server@192.168.2.3");
  });

  test("the machine of the CA is the one for ssh, unless it is set", () => {
    const AI_SERVER_URL = "https://other.example";
    expect(read({ AI_SERVER_URL }).caHost).toBeUndefined();
    expect(read({ AI_SERVER_URL, AI_SERVER_SSH_HOST: "me@other" }).caHost).toBe("me@other");
    expect(read({ AI_SERVER_URL, AI_SERVER_CA_HOST: "me@ca" })).toMatchObject({
      caHost: "me@ca",
      sshHost: undefined,
    });
  });
});

describe.each([
  "AI_SERVER_TIMEOUT_MS",
  "AI_SERVER_CONNECT_TIMEOUT_MS",
  "AI_SERVER_LOAD_TIMEOUT_MS",
  "AI_SERVER_SSH_TIMEOUT_MS",
  "AI_SERVER_RESTART_TIMEOUT_MS",
])("%s", (name) => {
  test.each(["0", "-1", "1.5", "1e3", "0x10", "10s", "abc", "١", "2147483648", "99999999999999999999"])(
    "%s is refused",
    (value) => {
      expect(refusal({ [name]: value })).toBe(
        `${name} is "${value}": it must be a whole number of milliseconds from 1 to 2147483647.`,
      );
    },
  );

  test("the shortest and the longest that a timer takes are accepted", () => {
    expect(Object.values(read({ [name]: "1" }))).toContain(1);
    expect(Object.values(read({ [name]: "2147483647" }))).toContain(2_147_483_647);
  });
});

describe("what goes to ssh, systemd or into a request line", () => {
  test.each(["-oProxyCommand=id", "user@host id", "user@host\nid", "user@ho\u0000st", "user@host\u001b[31m"])(
    "AI_SERVER_SSH_HOST=%j is refused",
    (value) => {
      expect(refusal({ AI_SERVER_SSH_HOST: value })).toMatch(
        /^AI_SERVER_SSH_HOST is ".*": use user@host, a name from your ssh configuration, or local\.$/s,
      );
    },
  );

  test.each(["config.yaml", "./config.yaml", "~other/config.yaml", "/etc/a\nb.yaml", "/etc/a\u0007.yaml"])(
    "AI_SERVER_PRESET_PATH=%j is refused, and so is AI_SERVER_MODELS_DIR",
    (value) => {
      const words = / is ".*": use an absolute path on the server, or one that begins with ~\/\.$/s;
      expect(refusal({ AI_SERVER_PRESET_PATH: value })).toMatch(/^AI_SERVER_PRESET_PATH/);
      expect(refusal({ AI_SERVER_PRESET_PATH: value })).toMatch(words);
      expect(refusal({ AI_SERVER_MODELS_DIR: value })).toMatch(/^AI_SERVER_MODELS_DIR/);
      expect(refusal({ AI_SERVER_MODELS_DIR: value })).toMatch(words);
    },
  );

  test.each(["-x.service", "a b.service", "a;id", "a\nb.service", "$(id)", "../x.service", "`id`"])(
    "AI_SERVER_SERVICE_UNIT=%j is refused",
    (value) => {
      expect(refusal({ AI_SERVER_SERVICE_UNIT: value })).toMatch(
        /^AI_SERVER_SERVICE_UNIT is ".*": that is not the name of a systemd unit; use one like llama-swap\.service\.$/s,
      );
    },
  );

  test("AI_SERVER_LOOP_GUARD is on or off", () => {
    expect(read({ AI_SERVER_LOOP_GUARD: "off" }).isLoopGuarded).toBe(false);
    expect(read({ AI_SERVER_LOOP_GUARD: "on" }, { AI_SERVER_LOOP_GUARD: "off" }).isLoopGuarded).toBe(true);
    expect(refusal({ AI_SERVER_LOOP_GUARD: "no" })).toBe(
      'AI_SERVER_LOOP_GUARD is "no": it must be on or off.',
    );
  });

  test("AI_SERVER_WARM is off, load or read", () => {
    for (const value of ["off", "load", "read"] as const)
      expect(read({ AI_SERVER_WARM: value }).warm).toBe(value);
    expect(read({}, { AI_SERVER_WARM: "load" }).warm).toBe("load");
    expect(refusal({ AI_SERVER_WARM: "on" })).toBe('AI_SERVER_WARM is "on": it must be off, load or read.');
  });

  test("AI_SERVER_SSH_MODE is one of two", () => {
    expect(read({ AI_SERVER_SSH_MODE: "wrapper" }, { AI_SERVER_SSH_MODE: "direct" }).sshMode).toBe("wrapper");
    expect(read({}, { AI_SERVER_SSH_MODE: "wrapper" }).sshMode).toBe("wrapper");
    for (const value of ["Direct", "none", "wrapper;id"]) {
      expect(refusal({ AI_SERVER_SSH_MODE: value })).toBe(
        `AI_SERVER_SSH_MODE is "${value}": it must be direct or wrapper.`,
      );
    }
  });

  test("what is set for the CA is checked like what is set for the server", () => {
    expect(refusal({ AI_SERVER_CA_HOST: "-oProxyCommand=id" })).toMatch(/^AI_SERVER_CA_HOST is /);
    expect(refusal({ AI_SERVER_CA_DIR: "certs" })).toMatch(
      /^AI_SERVER_CA_DIR is "certs": use an absolute path/,
    );
    expect(refusal({ AI_SERVER_CADDY_RELOAD: "one\ntwo" })).toMatch(
      /^AI_SERVER_CADDY_RELOAD is ".*": it must be one line, such as sudo systemctl restart caddy\.$/s,
    );
  });

  test("AI_SERVER_RESTART_COMMAND is one line of any kind", () => {
    const command = "sudo -n systemctl restart 'llama swap' && echo \"$(date)\"";
    expect(read({ AI_SERVER_RESTART_COMMAND: command }).restartCommand).toBe(command);
    for (const value of ["one\ntwo", "one\u0007", "one\u009b31m"]) {
      expect(refusal({ AI_SERVER_RESTART_COMMAND: value })).toMatch(
        /^AI_SERVER_RESTART_COMMAND is ".*": it must be one line, such as sudo systemctl restart llama-swap\.$/s,
      );
    }
  });

  const routes = VARIABLES.map(([name]) => name).filter((name) =>
    /_(MODELS|RUNNING|UNLOAD\w*|HEALTH)_PATH$/.test(name),
  );

  test("there are five routes", () => expect(routes).toHaveLength(5));

  test.each(routes)("%s must be a path that a request line can hold", (name) => {
    for (const value of [
      "v1/models",
      "https://other.example/x",
      "/a b",
      "/a\r\nHost: evil",
      "/a#b",
      "/\u0000",
      "/→",
    ]) {
      expect(refusal({ [name]: value })).toContain(`${name} is "`);
    }
    expect(() => read({ [name]: "/a/b?c=d&e=%20" })).not.toThrow();
  });

  test.each(["sk one", "sk\r\nX-Evil: 1", "schlüssel", "sk\u0000"])(
    "AI_SERVER_API_KEY=%j is refused and not repeated",
    (value) => {
      expect(refusal({ AI_SERVER_API_KEY: value })).toBe(
        "AI_SERVER_API_KEY contains a space or a character that cannot be sent in an HTTP header.",
      );
    },
  );

  test("control characters of a wrong value do not reach the terminal", () => {
    const sentence = refusal({ AI_SERVER_SSH_HOST: "user@host \u001b]0;title\u0007\u009b31m" });
    expect(sentence).toContain("AI_SERVER_SSH_HOST");
    expect(sentence).not.toMatch(/\p{Cc}/u);
  });
});

describe("isSetUp", () => {
  let agentDir = "";
  beforeEach(() => {
    agentDir = mkdtempSync(join(tmpdir(), "config-test-"));
  });
  afterEach(() => rmSync(agentDir, { recursive: true }));

  test("is false where nothing was ever set up", () => {
    expect(isSetUp({}, undefined, agentDir)).toBe(false);
    expect(isSetUp({ AI_SERVER_URL: "", AI_SERVER_CA: " " }, undefined, agentDir)).toBe(false);
    expect(isSetUp({ AI_SERVER_TIMEOUT_MS: "1", AI_SERVER_SSH_HOST: "local" }, undefined, agentDir)).toBe(
      false,
    );
  });

  test("a login is enough, even an empty one", () => {
    expect(isSetUp({}, {}, agentDir)).toBe(true);
  });

  test.each([
    "AI_SERVER_URL",
    "AI_SERVER_CERTS_DIR",
    "AI_SERVER_CA",
    "AI_SERVER_CLIENT_CERT",
    "AI_SERVER_CLIENT_KEY",
  ])("%s is enough, even a wrong one", (name) => {
    expect(isSetUp({ [name]: "nonsense" }, undefined, agentDir)).toBe(true);
  });

  test.each(["root-ca.pem", "client.pem", "client-key.pem"])("the file %s is enough", async (file) => {
    await mkdir(join(agentDir, "certs"));
    expect(isSetUp({}, undefined, agentDir)).toBe(false);
    writeFileSync(join(agentDir, "certs", file), "");
    expect(isSetUp({}, undefined, agentDir)).toBe(true);
  });
});

describe("routeFor", () => {
  test.each([
    ["/api/models/unload/<id>", "plain", "/api/models/unload/plain"],
    ["/upstream/<id>/health", "org/repo-GGUF:Q4_K_M", "/upstream/org%2Frepo-GGUF%3AQ4_K_M/health"],
    ["/upstream/<id>/health", "sp ace/ünï", "/upstream/sp%20ace%2F%C3%BCn%C3%AF/health"],
    ["/unload", "a/b", "/unload/a%2Fb"],
    ["/unload/", "x", "/unload/x"],
    ["/<id>?model=<id>", "a&b=c", "/a%26b%3Dc?model=a%26b%3Dc"],
    ["/x/<id>", "$& $1 <id>", "/x/%24%26%20%241%20%3Cid%3E"],
    ["/x/<id>", "../../admin?x#y\r\n", "/x/..%2F..%2Fadmin%3Fx%23y%0D%0A"],
  ])("%s for %j is %s", (route, id, path) => {
    expect(routeFor(route, id)).toBe(path);
  });
});
