/** A command as it is written to the server, in parts: bytes stay as they are, what stands around them is text. */
export function encodeCommand(command: string, args: readonly (string | Buffer)[]): (string | Buffer)[] {
  const parts: (string | Buffer)[] = []
  let text = `*${args.length + 1}\r\n$${Buffer.byteLength(command)}\r\n${command}\r\n`
  for (const arg of args) {
    if (typeof arg === 'string') text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`
    else {
      parts.push(`${text}$${arg.length}\r\n`, arg)
      text = '\r\n'
    }
  }
  parts.push(text)
  return parts
}
