/** Whether a server's version, `2.15.1`, is `since` or newer. */
export function isSince(version: string, since: `${number}.${number}`): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [sinceMajor = 0, sinceMinor = 0] = since.split('.').map(Number)
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}
