import { type RedisScript, redisScript } from './redis-script.ts'

/** The order of entry ids in Lua: as text, since its numbers are doubles. */
export const idOrder = `
local function less(a, b) return #a < #b or (#a == #b and a < b) end
local function before(a, b)
  local ams, aseq, bms, bseq = a:match('^%d+'), a:match('%d+$'), b:match('^%d+'), b:match('%d+$')
  return less(ams, bms) or (ams == bms and less(aseq, bseq))
end
`

/**
 * What XINFO STREAM says of KEYS[1], and whether the stream is still the one in which entry `id` of `source` was the `count`-th
 * or a later one. Its counters only grow, and retention removes from the front: if it took that entry, it took all before it. A
 * stream that replaced it and has lost as many since cannot be told from it.
 */
const stream = `
local state = { length = '0', ['entries-added'] = '0', ['last-generated-id'] = '0-0', ['recorded-first-entry-id'] = '0-0' }
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if type(info[i + 1]) == 'number' then state[info[i]] = string.format('%.0f', info[i + 1])
    elseif state[info[i]] then state[info[i]] = info[i + 1] end
  end
end
local length, added = state.length, state['entries-added']
local first, last = state['recorded-first-entry-id'], state['last-generated-id']
${idOrder}local function same(id, count, source)
  if id == '0-0' then return true end
  if before(last, id) or less(added, count) then return false end
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then return entry[2][2] == source end
  if length ~= '0' and before(first, id) then return true end
  return tonumber(added) - tonumber(length) >= tonumber(count)
end
`

/**
 * Takes the route over and reads its tail.
 * KEYS: stream, checkpoint. ARGV: this writer. Replies with the checkpoint's fields, whether the stream is still its own, and the stream.
 */
export const openRoute: RedisScript = redisScript(`${stream}
if not redis.REDIS_VERSION_NUM then return redis.error_reply('VERSION 7.0 or newer of Redis is needed') end
local found = redis.call('HMGET', KEYS[2], 'cursor', 'id', 'count', 'added', 'source', 'skip')
local matches = found[2] and same(found[2], found[4], found[5])
redis.call('HSET', KEYS[2], 'writer', ARGV[1])
return { found[1], found[2], found[3], found[4], found[5], found[6], matches and '1' or '0', length, added, first, last }`)

/**
 * Appends a batch and its cursor, or does nothing and says why.
 * KEYS: stream, checkpoint. ARGV: this writer, the cursor before, the cursor after, the count after, the route's last entry id,
 * how many entries the stream had got with it, '1' if no one else may write to it, the source's name, the source ids that are
 * still to be skipped; then packages of entries.
 *
 * Redis does not undo what a script did before an error: so the first write is one that changes nothing, and fails where writing
 * is not permitted or memory is short (which is asked only until the first write); the rest has been checked before.
 */
export const appendBatch: RedisScript = redisScript(`${stream}
local writer, cursor = unpack(redis.call('HMGET', KEYS[2], 'writer', 'cursor'))
if writer ~= ARGV[1] then return { writer and 'fenced' or 'gone' } end
if (cursor or '') ~= ARGV[2] then return { 'changed', cursor } end
local id, source = ARGV[5], ARGV[8]
if not same(id, ARGV[6], source) then return { 'lost', last, added } end
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
added = count == 0 and ARGV[6] or string.format('%.0f', tonumber(added) + count)
redis.call('HSET', KEYS[2], 'cursor', ARGV[3], 'id', id, 'count', ARGV[4], 'added', added, 'source', source, 'skip', ARGV[9])
return { 'ok', id, added, ARGV[4] }`)
