import { type RedisScript, redisScript } from './redis-script.ts'

/** What XINFO STREAM says of KEYS[1], and the order of ids. Ids and counters are compared as text: Lua's numbers are doubles. */
const stream = `
local state = { ['length'] = '0', ['entries-added'] = '0', ['last-generated-id'] = '0-0', ['recorded-first-entry-id'] = '0-0' }
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if type(info[i + 1]) == 'number' then state[info[i]] = string.format('%.0f', info[i + 1])
    elseif state[info[i]] then state[info[i]] = info[i + 1] end
  end
end
local last, added = state['last-generated-id'], state['entries-added']
local function less(a, b) return #a < #b or (#a == #b and a < b) end
local function before(a, b)
  local ams, aseq, bms, bseq = a:match('^%d+'), a:match('%d+$'), b:match('^%d+'), b:match('%d+$')
  return less(ams, bms) or (ams == bms and less(aseq, bseq))
end
`

/**
 * Takes the route over and reads its tail.
 * KEYS: stream, checkpoint. ARGV: this writer. Replies with the checkpoint's fields, whether its entry is there, and the stream.
 */
export const openRoute: RedisScript = redisScript(`${stream}
local found = redis.call('HMGET', KEYS[2], 'cursor', 'id', 'count', 'added', 'source', 'skip')
local entry = found[2] and redis.call('XRANGE', KEYS[1], found[2], found[2])[1]
local there = entry and entry[2][2] == found[5] -- its source: a stranger's entry may have the same id in a stream that was replaced
redis.call('HSET', KEYS[2], 'writer', ARGV[1])
return { found[1], found[2], found[3], found[4], found[5], found[6], there and '1' or '0',
  state['length'], added, last, state['recorded-first-entry-id'] }`)

/**
 * Appends a batch and its cursor, or does nothing and says why.
 * KEYS: stream, checkpoint. ARGV: this writer, the cursor before, the cursor after, the count after, the route's last entry id,
 * how many entries the stream had ever got by then, '1' if no one else may write to it, the source's name, the source ids that are
 * still to be skipped; then packages of entries.
 *
 * Redis does not undo what a script did before an error: so the first write is one that changes nothing, and fails where writing
 * is not permitted or memory is short (which is asked only until the first write); the rest has been checked before.
 */
export const appendBatch: RedisScript = redisScript(`${stream}
local writer, cursor = unpack(redis.call('HMGET', KEYS[2], 'writer', 'cursor'))
if writer ~= ARGV[1] then return { writer and 'fenced' or 'gone' } end
if (cursor or '') ~= ARGV[2] then return { 'changed', cursor } end
local id = ARGV[5]
if before(last, id) or less(added, ARGV[6]) then return { 'lost', last, added } end
if ARGV[7] == '1' and last ~= id then return { 'foreign', last } end
if last:match('^%d+') == '18446744073709551615' then return { 'full', last } end
redis.call('HSET', KEYS[2], 'writer', ARGV[1])
local count = 0
for i = 10, #ARGV do
  for _, entry in ipairs(cmsgpack.unpack(ARGV[i])) do
    id = redis.call('XADD', KEYS[1], unpack(entry))
    count = count + 1
  end
end
added = string.format('%.0f', tonumber(added) + count)
redis.call('HSET', KEYS[2], 'cursor', ARGV[3], 'id', id, 'count', ARGV[4], 'added', added, 'source', ARGV[8], 'skip', ARGV[9])
return { 'ok', id, added }`)
