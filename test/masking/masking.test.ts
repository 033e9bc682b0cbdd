import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { isSecretName, maskLines, maskText, type TextKind } from "../../masking/masking.ts";
import { processorTime } from "../support/clock.ts";

const CONFIGS = new URL("../fixtures/configs/", import.meta.url);

/** What is hidden stands between « and » in the source of a row. */
const plain = (row: string): string => row.replaceAll(/[«»]/g, "");
const masked = (row: string): string => row.replaceAll(/«[^»]*»/g, "••••");

describe("hides", () => {
  const rows: [TextKind, string][] = [
    ["yaml", "apiKeys:\n  - «abc»\n  - \"«d e»\" # laptop\n  - '«f#g: h»'\nttl: 5"],
    ["yaml", 'apiKeys: [«abc», "«d, e»"] # mine\nttl: 5'],
    ["yaml", "apiKeys:\n- «abc»\nttl: 5"],
    ["yaml", "apiKeys: [${env.KEY}, «abc»${env.MORE}«def», ${MACRO}]"],
    ["yaml", "peers: {a: {apiKey: ${env.KEY}, ttl: 5}, b: {apiKey: «abc»}}"],
    ["yaml", "apiKeys: [\n  «abc»,\n  «def» ]\nttl: 5"],
    ["yaml", "keys: &k\n  - «abc»\napiKeys: *k"],
    ["yaml", "apiKeys: &k [«abc»]\npeers: {a: {apiKeys: *k}}"],
    ["yaml", "one: &one «abc»\napiKeys: [*one, «def»]"],
    ["yaml", "apiKeys:\n  - |\n    «abc»\n    «def»\n  - >-\n    «ghi»\nttl: 5"],
    ["yaml", "# apiKey: «old»\n# - x\nttl: 5"],
    ["yaml", "apiKeys:\n  # - «gone»\n  # for the laptop\n  - «abc»"],
    ["yaml", "peers:\n  a:\n    apiKey: «abc def» # x\n    proxy: http://h"],
    ["yaml", '{"api_key": "«a»", "HF-TOKEN": \'«b»\', "passphrase": «c», ttl: 5}'],
    [
      "yaml",
      "password: «12345»\nsecret: «a:b»\nAuthorization: Bearer «c»\ncredentials: {user: «u», more: [«v»]}",
    ],
    ["yaml", "env:\n  - \"HF_TOKEN=«a b»\"\n  - 'API_KEY=«c''d»'\n  - A_SECRET=«x=y»\n  - CUDA=0"],
    ["yaml", 'env: [HF_TOKEN=«a», "DB_PASSWORD=«b, c»"]'],
    ["yaml", 't: &t "HF_TOKEN=«a b»"\nmodels: {a: {env: [*t]}}'],
    ["yaml", "cmd: |\n  llama-server --api-key «abc»\n  --hf-token=«def» -c 5"],
    ["yaml", 'cmd: |\n  llama-server --api-key \\\n    "«a b»" \\\n  -hft\n  «def»\n  -c 5'],
    ["yaml", "cmd: >\n  llama-server --api-key\n  «abc»\n  -c 5"],
    ["yaml", "cmd: llama-server --api-key\n    «abc» -c 5\nttl: 5"],
    ["yaml", 'cmd: "llama-server --api-key \\"«a b»\\" -c 1\\n--token «abc»\\n-c 5"'],
    ["yaml", 'cmd: "llama-server --api-key \\\n  «abc» -c 5"'],
    ["yaml", "cmd: 'llama-server --api-key ''«a b»'' -c 5'"],
    ["yaml", "cmd: |\n  # --api-key «abc»\n  llama-server -c 5"],
    ["yaml", "cmd: |\n  llama-server --api-key\n  # the key\n  «abc» -c 5"],
    ["yaml", "cmd: sh -c 'HF_TOKEN=\"«a b»\" exec llama-server --api-key «c» -c 5'"],
    ["yaml", 'cmd: docker run -e HF_TOKEN -e API_KEY=«a» --env=TOKEN=«b» --env "X_SECRET=«c d»" img -c 5'],
    ["yaml", "args:\n  - --api-key\n  - «abc»\n  - -c\n  - 5"],
    ["yaml", 'macros:\n  key: "«abc»"\n  temp: 0.7\n  ssl_key: /etc/key.pem'],
    [
      "yaml",
      "macros:\n  mine: \"«abc»\"\n  temp: 0.7\nmodels: {a: {cmd: 'x --api-key ${mine} --temp ${temp}'}}",
    ],
    ["yaml", "macros:\n  a: «abc»\n  b: «x»${a}\nmodels: {m: {apiKey: '${b}'}}"],
    ["yaml", "apiKeys:\n  - ${env.KEY}\n  - «sk-»${part}"],
    ["yaml", "apiKeys: [«abc»\nmodels:\n  a: {cmd: 'x --api-key «def» -c 5'\n]"],
    ["yaml", 'a: ]\nmacros:\n  mine: "«abc»"\ncmd: x --api-key ${mine}'],
    ["yaml", 'a: ]\nenv:\n  - "HF_TOKEN=«a b»"\napiKeys:\n  - «abc» # x\nttl: 5'],
    ["log", "API key: «abc»"],
    ["log", "srv  init: Api Key = «abc»"],
    ["log", "Incorrect API key provided: «abc.» You can find it in the logs"],
    ["log", "the API key is «abcdef12», and secret key: '«x y»' too"],
    ["log", "Master key was «0123456789abcdef»"],
    ["ini", "[a]\napi-key = «abc def»\nhf-token=«x» ; mine\nctx-size = 5"],
    ["ini", "LLAMA_API_KEY = «a#b» # mine\n; api-key = «old»"],
    ["command", "llama-server --api-key «abc» -c 5"],
    ["command", 'llama-server --api-key="«a b»" -c 5'],
    ["command", "llama-server --api-key '«a b»' --port 1"],
    ["command", "llama-server --api-key «a\\ b» --port 1"],
    ["command", 'llama-server --api-key «a"b c"d» --port 1'],
    ["command", "llama-server -hft «abc» --model-url https://u:«p»@h/m.gguf?token=«t»&x=1"],
    ["command", "HF_TOKEN=«abc» FOO=bar llama-server -c 5"],
    ["command", 'env HF_TOKEN="«a b»" llama-server'],
    ["command", "llama-server \\\n  --api-key \\\n  «abc» \\\n  -c 5"],
    ["command", "llama-server --api-key «abc»\\\n  -c 5"],
    ["command", "curl -H \"x-api-key: «a b»\" -H 'Authorization: Bearer «c»' -H Authorization:«d» http://h"],
    ["command", "llama-server --password «-Secret1» --token --port 5"],
    ["command", "don't --api-key «abc» -c 5"],
    ["log", "Executing start command: llama-server --api-key «abc» --port 5, env: HF_TOKEN=«x», A=1"],
    ["log", 'args: ["--api-key", "«a b»", "-c", "5"]'],
    ["log", '{"apiKey":"«a\\"b»","n":1,"apiKeys":["«c»","«d»"],"headers":{"Authorization":["Bearer «ef»"]}}'],
    ["log", "GET /v1?api_key=«abc»&n=1 HTTP/1.1 token=«x»"],
    ["log", "Authorization: Bearer «abc» HTTP/1.1"],
    ["log", "x «sk-proj-abc123» y «hf_abcDEF123456» z «ghp_abcdefghij1234567890»"],
    ["log", "«eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_1» sent"],
    ["log", "bearer «0123456789abcdef0123»"],
    ["log", "proxy http://user:«pass»@host:80/x and https://«tok3n»@host"],
    ["log", "-----BEGIN PRIVATE KEY-----\n«MIIabc»\n«def»\n-----END PRIVATE KEY-----"],
    ["log", "key sk_live: «sk_live_abc123def»"],
    ["log", "Cookie: «a=b; c=d»\nHost: h"],
    ["yaml", 'apiKey:\r\n  "«abc»"\r\nttl: 5\r'],
    ["command", "TAVILY_KEY=«a» OPENROUTER_KEY='«b c»' GITHUB_PAT=«d» MY_VENDOR_KEY=«e» llama-server -c 5"],
    ["command", 'docker run -e TAVILY_KEY=«a» -e "GITHUB_PAT=«b c»" -e GITHUB_PAT img'],
    ["yaml", "env:\n  - TAVILY_KEY=«a b»\n  - 'GITHUB_PAT=«c»'\n  - OPENROUTER_KEY=${env.KEY}"],
    ["log", "env: OPENROUTER_KEY=«x», TAVILY_KEY=«y», A=1"],
    ["command", "curl -u user:«password» -fsS http://h:80/x"],
    ["command", "curl -s --user 'user:«pass word»' http://h; curl -uuser:«abc» --proxy-user \"u:«p»\" h"],
    ["command", "curl -u «sk1»: https://h"],
    ["command", "docker login -u me -p «abc» registry.example.org"],
    ["command", "docker login --username me --password=«abc» && podman login \\\n  -p '«a b»' r"],
    ["command", "sshpass -p «abc» ssh -p 22 host; sshpass -p'«d e»' ssh host; sshpass -p«fgh» ssh h"],
    ["yaml", 'cmd: sshpass -p "«a b»" ssh host docker login -p «c» r\nttl: 5'],
    ["yaml", "cmd: \"sshpass -p '«a b»' ssh host curl -u u:«p» http://h\"\nttl: 5"],
    ["ini", "[*]\nhft = «abc»\nctx-size = 5\n[a]\nhft=«d e» ; mine"],
    ["yaml", '# apiKeys:\n#   - «abc»\n#   - "«def»"\n# ttl: 5\nttl: 5'],
    ["yaml", "# apiKeys: [«abc», «def»]\n# password: «correct horse battery staple»\nttl: 5"],
    ["log", '{"cmd":"llama-server\\n--api-key \\"«a b»\\"\\n-hft «abc»\\n-c 5"}'],
    ["yaml", "openaiApiKey: «a»\nOPENAI_API_KEY: «b»\nopenai-api-key: «c»\nclientSecret: «d»\nhfToken: «e»"],
  ];
  test.each(rows)("%s %j", (kind, row) => {
    expect(maskText(plain(row), kind)).toBe(masked(row));
  });
});

describe("leaves alone", () => {
  const rows: [TextKind, string][] = [
    [
      "yaml",
      "max_tokens: 4096\nmax_output_tokens: 5\ncontext_tokens: 7\nn-predict: 9\ntokenizer: gpt2\ntoken: 5\nkeepAlive: 5m",
    ],
    ["yaml", "apiKeys: []\napiKey: ''\napi_key: null\nauth_token: true\ntokens: abc"],
    ["yaml", "# key: value\nkey: value\nname: sk-learn-model\nmodel: hf_transfer\nttl: 60 # token bucket"],
    [
      "yaml",
      "cmd: x --api-key-file /k --ssl-key-file /s --cache-type-k q8_0 --tokens a --token-rate 45 -c 5 --cors-credentials",
    ],
    ["yaml", 'cmd: x --api-key ${env.KEY} --hf-token "${tok}"'],
    [
      "yaml",
      "models:\n  deepseek-r1-task-5: {aliases: [disk-cache-1, gpt-sk-3], useModelName: org/token-model}",
    ],
    ["yaml", "# apiKeys: require an API key\napiKeys: [] # apiKeys: the keys of all clients\nttl: 5"],
    ["yaml", "env: [SSL_KEY=/etc/key.pem, CACHE_KEY=abc, PUBLIC_KEY=abc, HOTKEY=F5, PATH=/bin, KEY=a]"],
    ["command", "ssh -p 22 -u x host; mkdir -p a; docker run -p 8080:80 -u me:us img; curl -u me http://h"],
    ["command", "docker login -u me r\ndocker run -p 8080:80 img"],
    ["ini", "[token]\napi-key-file = /k\nspm-token = 5\nctx-size = 5 ; secret sauce"],
    ["command", "sh -c 'llama-server --api-key \"$KEY\"'"],
    ["command", "docker run -e HF_TOKEN ghcr.io/x --override-kv tokenizer.ggml.add_bos_token=bool:false"],
    ["log", "print_info: EOS token = 151645 '<|im_end|>'\nprint_info: LF token = 198 'Ċ'"],
    [
      "log",
      "- kv 22: tokenizer.ggml.eos_token_id u32 = 151645\n- kv 9: tokenizer.chat_template str = {{ bos_token }}",
    ],
    ["log", "prompt eval time = 1.5 ms / 20 tokens, 70.5 tokens per second, n_tokens = 20, token: 5"],
    ["log", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef  model.gguf"],
    ["log", "The API key is missing or wrong. An API key is required, and the API key: none"],
    ["log", "the public key: MIIB, the keyboard key: x"],
    ["log", "It begins with -----BEGIN PRIVATE KEY----- or the like."],
    ["log", "warning: --api-key is not set; a bearer token may be used"],
    ["log", "ssh://git@host/x http://h:80/a@b user@host"],
  ];
  test.each(rows)("%s %j", (kind, text) => {
    expect(maskText(text, kind)).toBe(text);
  });

  test("every config of the fixtures, byte for byte", () => {
    for (const name of readdirSync(CONFIGS)) {
      const text = readFileSync(new URL(name, CONFIGS), "utf8");
      expect(maskText(text, name.endsWith(".ini") ? "ini" : "yaml"), name).toBe(text);
    }
  });

  test.each(["llama-swap-head", "llama-swap-v170", "llama-swap-v217", "llama-server"])(
    "what was recorded of %s",
    (folder) => {
      const place = new URL(`../fixtures/${folder}/`, import.meta.url);
      for (const name of readdirSync(place)) {
        const text = readFileSync(new URL(name, place), "utf8");
        expect(maskText(text, "log"), name).toBe(text);
      }
    },
  );
});

test("names", () => {
  const secret =
    "apiKeys apiKey API_KEY x-api-key --api-key -hft HF_TOKEN hf_token token accessToken auth_tokens password PGPASSWORD openaiapikey DB_PASS passphrase SECRET_KEY_BASE authorization credentials AWS_SECRET_ACCESS_KEY api_key_2 privateKey TAVILY_KEY OPENROUTER_KEY GITHUB_PAT GITHUB_PAT_2 hft";
  const open =
    "key keys keepAlive tokens max_tokens tokenizer eos_token bos_token_id token-rate api-key-file ssl_key cache-type-k PWD OLDPWD monkey AWS_ACCESS_KEY_ID cors-credentials author SSL_KEY PUBLIC_KEY PRIMARY_KEY KEY PAT PATH CLASSPATH tavily -";
  const names = secret.split(" ");
  expect(names.filter((name) => !isSecretName(name))).toEqual([]);
  expect(open.split(" ").filter((name) => isSecretName(name))).toEqual([]);
});

test("as many lines come out as went in, whatever they hold", () => {
  for (const kind of ["yaml", "ini", "command", "log"] as const) {
    expect(maskLines([], kind)).toEqual([]);
    expect(maskLines([""], kind)).toEqual([""]);
    expect(maskLines(["apiKeys:", "- a", ""], kind)).toHaveLength(3);
    expect(maskLines(["apiKey: |", "  a\nb", "c"], kind)).toHaveLength(3);
  }
});

test("hostile lines of 100 kB take no longer than others", () => {
  const pieces = [
    "a",
    "'",
    '"',
    "\\",
    "[",
    "token=",
    "apiKeys: [",
    "apiKeys: {a: ",
    "--api-key ",
    "a://",
    "token='",
    "eyJa.",
    "Bearer ",
    "\\\n",
    "sk-",
  ];
  for (const piece of pieces) {
    const text = piece.repeat(Math.ceil(100_000 / piece.length));
    for (const kind of ["yaml", "ini", "command", "log"] as const) {
      const spent = processorTime();
      maskText(text, kind);
      expect(spent(), `${kind} ${piece}`).toBeLessThan(5000);
    }
  }
});
