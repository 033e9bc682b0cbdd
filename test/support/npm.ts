import { type Finished, runOk } from "./processes.ts";

/** The environment for an npm that works in another folder than the script that started this process. */
function npmEnvironment(): NodeJS.ProcessEnv {
  // npm describes a package to its scripts in these; a second npm must not take them for its own.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^npm_(package|lifecycle|command|config_(local_prefix|omit|include|prefix))/i.test(name),
  );
  return { ...Object.fromEntries(inherited), NODE_ENV: undefined };
}

/** Runs npm in `cwd` with the user's own npm configuration; rejects when it fails. */
export function npm(args: readonly string[], cwd: string): Promise<Finished> {
  return runOk("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd,
    env: npmEnvironment(),
    timeoutMs: 180_000,
  });
}
