import fc from 'fast-check'

/** Every character of Unicode. (fast-check's unit `binary` takes seconds before the first one.) */
export const anyCharacter: fc.Arbitrary<string> = fc
  .oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.nat(0x10ffff - 0x800))
  .map((code) => String.fromCodePoint(code < 0xd800 ? code : code + 0x800))
