/** The tags of the fields of `reflexpb.Event` and `google.protobuf.Timestamp`: the number, and how the value is written: `number << 3 | wire type`. */
export const tags = {
  type: 24,
  timestamp: 34,
  foreignId: 42,
  id: 50,
  metadata: 58,
  trace: 66,
  headers: 8002,
  nullMetadata: 8008,
  position: 8018,
  events: 8026,
  opened: 8034,
  seconds: 8,
  nanos: 16,
  name: 10,
  value: 18,
} as const
