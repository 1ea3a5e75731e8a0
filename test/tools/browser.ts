import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { findExecutable } from '../../src/testing/servers/find-executable.ts'
import { nativePackages } from '../../src/testing/servers/native-packages.ts'

/** A headless Chromium of its own, spoken to in the DevTools protocol. */
export interface Browser extends AsyncDisposable {
  /** A tab of its own, without what others have stored. */
  open(url: string, view?: View): Promise<Page>
}

/** How a page is looked at. */
export interface View {
  readonly width?: number
  readonly height?: number
  readonly dark?: boolean
}

/** A page that is open. */
export interface Page {
  /** The value of a JavaScript expression in the page; promises are awaited. */
  evaluate<T>(expression: string): Promise<T>
  /** Resolves as soon as the expression is true. */
  until(expression: string): Promise<void>
  /** Presses a key, as `Tab`, `Enter`, `Escape`, ` ` or a letter. */
  press(key: string): Promise<void>
  /** What is in view, as PNG. */
  screenshot(): Promise<Buffer>
  look(view: View): Promise<void>
  /** What the page complained about: exceptions, errors on its console, what its policy forbids. */
  readonly complaints: readonly string[]
}

const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--hide-scrollbars'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-pipe'],
]

/**
 * Starts the one that `REFLEX_BRIDGE_CHROMIUM` names, that is on PATH, or that is fetched from Debian's archive into the cache of the
 * test servers. Rejects where there is none of these: a browser is not optional.
 */
export async function startBrowser(): Promise<Browser> {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-browser-'))
  const { command, env } = await findChromium(folder)
  const child = spawn(command, [...FLAGS, `--user-data-dir=${join(folder, 'profile')}`], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  })
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  const protocol = speak(child, exited)
  return {
    open: async (url, view = {}) => {
      const { browserContextId } = await protocol.send('Target.createBrowserContext', {})
      const { targetId } = await protocol.send('Target.createTarget', { url: 'about:blank', browserContextId })
      const { sessionId } = await protocol.send('Target.attachToTarget', { targetId, flatten: true })
      return openPage(protocol, String(sessionId), url, view)
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL') // its other processes end with it: they lose their pipe
      await exited
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
    },
  }
}

async function openPage(protocol: Protocol, session: string, url: string, view: View): Promise<Page> {
  const send = (method: string, parameters: object = {}): Promise<Answer> => protocol.send(method, parameters, session)
  const complaints: string[] = []
  protocol.on(session, (method, parameters) => {
    const text = JSON.stringify(parameters)
    if (method === 'Runtime.exceptionThrown') complaints.push(text)
    if (method === 'Runtime.consoleAPICalled' && parameters['type'] === 'error') complaints.push(text)
    if (method === 'Log.entryAdded' && /"level":"error"/.test(text)) complaints.push(text)
  })
  const look = async ({ width = 1280, height = 900, dark = false }: View): Promise<void> => {
    await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 })
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
    await send('Emulation.setEmulatedMedia', { features })
  }
  const evaluate = async <T>(expression: string): Promise<T> => {
    const parameters = { expression, awaitPromise: true, returnByValue: true }
    const { result, exceptionDetails } = (await send('Runtime.evaluate', parameters)) as {
      result?: { value?: unknown }
      exceptionDetails?: unknown
    }
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`)
    return result?.value as T
  }
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`)
  await look(view)
  const loaded = protocol.once(session, 'Page.loadEventFired')
  await send('Page.navigate', { url })
  await loaded
  return {
    complaints,
    evaluate,
    look,
    until: (expression) =>
      evaluate(`new Promise((resolve) => {
        const timer = setInterval(look, 20)
        function look() { if (${expression}) { clearInterval(timer); resolve() } }
      })`),
    press: async (key) => {
      const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined
      const codes: Record<string, number> = { Enter: 13, Tab: 9, Escape: 27, ' ': 32 }
      const windowsVirtualKeyCode = codes[key] ?? key.toUpperCase().charCodeAt(0)
      await send('Input.dispatchKeyEvent', { type: 'keyDown', key, text, windowsVirtualKeyCode })
      await send('Input.dispatchKeyEvent', { type: 'keyUp', key, windowsVirtualKeyCode })
    },
    screenshot: async () => {
      const { data } = await send('Page.captureScreenshot')
      return Buffer.from(String(data), 'base64')
    },
  }
}

type Answer = Readonly<Record<string, unknown>>

interface Protocol {
  send(method: string, parameters: object, session?: string): Promise<Answer>
  on(session: string, listener: (method: string, parameters: Answer) => void): void
  once(session: string, method: string): Promise<void>
}

/** Messages are JSON that ends in a zero byte, on the child's descriptors 3 and 4. */
function speak(child: ChildProcess, exited: Promise<void>): Protocol {
  const [, , , toChild, fromChild] = child.stdio as unknown as [null, null, null, Writable, Readable]
  const waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>()
  const listeners: { readonly session: string; tell(method: string, parameters: Answer): void }[] = []
  let id = 0
  let rest = ''
  toChild.on('error', () => {}) // its exit is told to whoever waits
  fromChild.setEncoding('utf8').on('data', (text: string) => {
    const messages = (rest + text).split('\0')
    rest = messages.pop() ?? ''
    for (const message of messages.map((each) => JSON.parse(each) as Message)) {
      const { id: of, result, error, method, params, sessionId } = message
      const waiter = of === undefined ? undefined : waiting.get(of)
      if (of !== undefined) waiting.delete(of)
      if (error !== undefined) waiter?.reject(new Error(error.message))
      else waiter?.resolve(result ?? {})
      if (method === undefined) continue
      for (const each of listeners) if (each.session === sessionId) each.tell(method, params ?? {})
    }
  })
  void exited.then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`Chromium has ended (${child.exitCode})`))
  })
  return {
    send: (method, params, sessionId) => {
      const { promise, resolve, reject } = Promise.withResolvers<Answer>()
      if (child.exitCode !== null || child.pid === undefined) reject(new Error('Chromium does not run'))
      waiting.set(++id, { resolve, reject })
      toChild.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
      return promise
    },
    on: (session, tell) => {
      listeners.push({ session, tell })
    },
    once: (session, method) =>
      new Promise((resolve) => {
        listeners.push({ session, tell: (happened) => happened === method && resolve() })
      }),
  }
}

interface Message {
  readonly id?: number
  readonly result?: Answer
  readonly error?: { readonly message: string }
  readonly method?: string
  readonly params?: Answer
  readonly sessionId?: string
}

interface Found {
  readonly command: string
  readonly env?: Readonly<Record<string, string>>
}

async function findChromium(folder: string): Promise<Found> {
  const { env } = process
  const given = env['REFLEX_BRIDGE_CHROMIUM']
  if (given !== undefined && given !== '') return { command: given }
  for (const name of ['chromium', 'chromium-headless-shell', 'google-chrome', 'chrome']) {
    const command = await findExecutable(name, env)
    if (command !== undefined) return { command }
  }
  try {
    return await fetched(folder)
  } catch (cause) {
    throw new Error(
      'the dashboard is tested in Chromium, and none was found: install it (apt-get install chromium), or name it in REFLEX_BRIDGE_CHROMIUM',
      { cause },
    )
  }
}

/** Libraries that belong to the machine's own loader, by which Chromium starts itself again for each of its processes. */
const MACHINES = /^(ld-linux|lib(c|m|mvec|pthread|dl|rt|resolv|util|anl|nsl|nss_[a-z]+|BrokenLocale|thread_db)[.-])/

async function fetched(folder: string): Promise<Found> {
  const context = {
    column: 'current' as const,
    args: [],
    appendonly: false,
    readyTimeoutMs: 0,
    signal: AbortSignal.timeout(240_000),
    env: process.env,
    log: (line: string) => console.error(line),
  }
  const packages = ['chromium-headless-shell', 'fonts-dejavu-core']
  const root = await nativePackages({ suite: 'bookworm', name: 'chromium', title: 'chromium', packages }, context)
  const libraries = join(folder, 'libraries')
  await mkdir(libraries)
  for (const base of ['lib', 'usr/lib'].map((name) => join(root.folder, name))) {
    for (const triplet of (await readdir(base)).filter((name) => name.endsWith('-linux-gnu'))) {
      for (const below of ['', 'pulseaudio']) {
        const from = join(base, triplet, below)
        const names = await readdir(from).catch(() => [])
        for (const name of names.filter((each) => each.includes('.so') && !MACHINES.test(each)))
          await symlink(join(from, name), join(libraries, name)).catch(() => {}) // in both: the same
      }
    }
  }
  const fonts = join(folder, 'fonts.conf')
  const dirs = `<dir>${join(root.folder, 'usr/share/fonts')}</dir><cachedir>${join(folder, 'fonts')}</cachedir>`
  await writeFile(fonts, `<?xml version="1.0"?><fontconfig>${dirs}</fontconfig>`)
  return {
    command: join(root.folder, 'usr/lib/chromium/chromium-headless-shell'),
    env: { LD_LIBRARY_PATH: libraries, FONTCONFIG_FILE: fonts },
  }
}
