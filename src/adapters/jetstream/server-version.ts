/** Whether a server's version, `2.15.1`, is `since` or newer. */
export function isSince(version: string, since: `${number}.${number}`): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [sinceMajor = 0, sinceMinor = 0] = since.split('.').map(Number)
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)
}

/** Whether a consumer is never moved on by a purge or roll-up of subjects that are but a part of its own (nats-server 3838 and 5075). */
export function keepsItsPlace(version: string): boolean {
  return isSince(version, '2.11')
}
