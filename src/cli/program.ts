import { readFileSync, writeSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { describeError } from '../service/describe-error.ts'
import { exitCodeOf } from './exit-code.ts'

/**
 * Runs the command line with these arguments, and ends the process with its exit code: 0, 1 for a failure, 2 for wrong input, 130 if it
 * was stopped.
 */
export async function runProgram(args: readonly string[]): Promise<void> {
  quietWarnings()
  // A reader that goes away is no failure; a command that has more to do about it listens as well.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', outputFailed)
  const debug = args.includes('--debug')
  try {
    const program = await makeProgram(args)
    await program.parseAsync([...args], { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
    } else {
      process.stderr.write(`reflex-bridge: ${describeError(error, { stack: debug })}\n`)
      process.exitCode = exitCodeOf(error)
    }
  }
  for (const stream of [process.stdout, process.stderr]) await flushed(stream)
  process.exit()
}

/** Each is loaded when it is asked for; all of them for help and for what is no command. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./run.ts')).runCommand(),
  check: async () => (await import('./check.ts')).checkCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  reset: async () => (await import('./reset.ts')).resetCommand(),
  replay: async () => (await import('./replay.ts')).replayCommand(),
  pause: async () => (await import('./steer.ts')).steerCommand('pause'),
  resume: async () => (await import('./steer.ts')).steerCommand('resume'),
  stop: async () => (await import('./steer.ts')).steerCommand('stop'),
  purge: async () => (await import('./purge.ts')).purgeCommand(),
  skip: async () => (await import('./skip.ts')).skipCommand(),
  log: async () => (await import('./log.ts')).logCommand(),
  dlq: async () => (await import('./dlq.ts')).dlqCommand(),
  tail: async () => (await import('./tail.ts')).tailCommand(),
  causes: async () => (await import('./causes.ts')).causesCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  demo: async () => (await import('./demo.ts')).demoCommand(),
}

async function makeProgram(args: readonly string[]): Promise<Command> {
  const asked = args.find((arg) => !arg.startsWith('-')) ?? ''
  const wanted = Object.hasOwn(commands, asked) ? [asked] : Object.keys(commands)
  const program = new Command('reflex-bridge')
    .description(
      'Bridge SQL event tables into Kafka, NATS JetStream and Redis Streams, once in their logs, and look into them.',
    )
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand('help [command]', 'print help for a command')
    .option('--debug', 'print stack traces')
    .addHelpText(
      'after',
      `
Examples:
  $ reflex-bridge demo
  $ reflex-bridge check bridge.yaml
  $ reflex-bridge run bridge.yaml
  $ reflex-bridge verify bridge.yaml
  $ reflex-bridge tail 'redis://127.0.0.1:6379?key=orders'
  $ reflex-bridge verify ./my-adapter.ts

Exit codes: 0 done or stopped, 1 failed, 2 wrong input, 130 stopped before it was done.`,
    )
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${text
            .replace(/^error: /, 'reflex-bridge: ')
            .trim()
            .replaceAll('\n', ' ')}; see --help\n`,
        ),
    })
  for (const name of wanted) {
    const command = await commands[name]?.()
    if (command !== undefined) program.addCommand(inherit(command, program))
  }
  return program
}

/** Commander itself hands settings on to none that are added ready-made. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent)
  for (const each of command.commands) inherit(each, command)
  return command
}

function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return version
}

/** Leaves out what Node says of its own SQLite, and of the timers of kafkajs, whose times may have passed. */
function quietWarnings(): void {
  const others = process.listeners('warning')
  process.removeAllListeners('warning')
  process.on('warning', (warning) => {
    if (warning.name === 'ExperimentalWarning' && warning.message.startsWith('SQLite')) return
    if (warning.name === 'TimeoutNegativeWarning') return
    for (const each of others) each(warning)
  })
}

/** What is under way is left as a kill would leave it. */
function outputFailed({ code, message }: NodeJS.ErrnoException): void {
  if (code === 'EPIPE') return
  try {
    writeSync(2, `reflex-bridge: the output cannot be written: ${message}\n`)
  } catch {} // it goes there as well
  process.exit(1)
}

async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (!stream.destroyed) await new Promise<void>((resolve) => stream.write('', () => resolve()))
}
