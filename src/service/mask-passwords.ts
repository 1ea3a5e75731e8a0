/**
 * `text` with the password of every URL in it as `***`, so that it can be printed: up to the last `@` of the word, since a
 * password that should have been percent-encoded may hold one.
 */
export function maskPasswords(text: string): string {
  return text
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s:@/]*):[^\s"']*@/gi, '$1:***@')
    .replace(/([?&]password=)[^\s"'&]*/gi, '$1***')
}
