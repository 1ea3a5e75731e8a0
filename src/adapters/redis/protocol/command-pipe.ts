import type { Socket } from 'node:net'
import { decodeReplies, type Reply } from './decode-replies.ts'
import { encodeCommand } from './encode-command.ts'

/**
 * Sends a command, and resolves with its reply. Rejects with an error reply, on which the command's name stands but none of its
 * arguments; when the socket closes; and when the reply does not come in time, which leaves the socket open.
 */
export type SendCommand = (command: string, args: readonly (string | Buffer)[]) => Promise<Reply>

/** A command whose reply has not come. */
interface Pending {
  readonly command: string
  resolve(reply: Reply): void
  reject(error: Error): void
  /** Until this step it is waited for. */
  readonly until: number
}

const STEP_MS = 100

/**
 * Sends commands over a socket that nobody else reads or writes, several at a time: those of one turn are one write. What is not
 * Redis's protocol, and a reply that nobody waits for, destroy the socket.
 *
 * A reply may take `replyWithinMs`; undefined is no limit. It is counted in steps of 100 ms, and a step in which the event loop stood
 * still for seconds counts once: a reply that has come meanwhile is read before its command is given up.
 */
export function commandPipe(socket: Socket, { replyWithinMs }: { replyWithinMs: number | undefined }): SendCommand {
  const pending: Pending[] = []
  /** How many of them have been given up: their replies are still to come. */
  let late = 0
  let step = 0
  let timer: NodeJS.Timeout | undefined
  let corked = false

  const decode = decodeReplies((reply) => {
    const next = pending.shift()
    if (next === undefined) throw new Error('the server sent a reply to no command')
    if (late > 0) late--
    if (pending.length === late) stopTimer()
    if (reply instanceof Error) next.reject(Object.assign(reply, { command: { name: next.command } }))
    else next.resolve(reply)
  })
  socket.on('data', (piece: Buffer) => {
    try {
      decode(piece)
    } catch (error) {
      socket.destroy(error as Error)
    }
  })
  socket.on('close', () => {
    stopTimer()
    const error = socket.errored ?? new Error('the connection was closed')
    for (const { reject } of pending.splice(0)) reject(error)
  })

  function giveUp(): void {
    step++
    for (let next = pending[late]; next !== undefined && next.until < step; next = pending[++late])
      next.reject(new Error(`no reply to ${next.command} within ${replyWithinMs} ms`))
    if (pending.length === late) stopTimer()
  }
  function stopTimer(): void {
    clearInterval(timer)
    timer = undefined
  }
  function write(parts: readonly (string | Buffer)[]): void {
    if (!corked) {
      corked = true
      socket.cork()
      process.nextTick(() => {
        corked = false
        socket.uncork()
      })
    }
    for (const part of parts) socket.write(part)
  }

  return (command, args) => {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    if (!socket.writable) {
      reject(socket.errored ?? new Error('the connection was closed'))
      return promise
    }
    pending.push({ command, resolve, reject, until: step + (replyWithinMs ?? 0) / STEP_MS })
    if (replyWithinMs !== undefined) timer ??= setInterval(giveUp, STEP_MS)
    write(encodeCommand(command, args))
    return promise
  }
}
