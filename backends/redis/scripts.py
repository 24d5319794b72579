"""The Lua scripts of the Redis store. Each changes one record and notifies its owner in one step.

A record is the string "<state> <generation> <worker> <owner>" under one key. A script publishes before it writes: if
the user lacks the right to publish, nothing is recorded, and a retry does not find an abort that was never sent.
"""

_PARSE = """
local value = redis.call('GET', KEYS[1])
local state, generation, worker, owner
if value then state, generation, worker, owner = string.match(value, '^(%S+) (%S+) (%S+) (.*)$') end
"""
RECORD = (  # ARGV: generation, owner, worker, TTL in ms, 1 for a renewal
    _PARSE
    + """
local own = generation == ARGV[1]
local live = state == 'live' or state == 'aborted'
if live and not own then return 'duplicate' end
if own and state == 'ended' and ARGV[5] == '1' then return 'ended' end
local new = 'live'
if own and (state == 'aborted' or state == 'repeated') then new = 'aborted' end
if state == 'early' and owner == ARGV[2] then new = 'aborted' end
redis.call('SET', KEYS[1], new .. ' ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
return new
"""
)
FLAG = (  # ARGV: owner, time to remember in ms or 0, request id, publish command or '', channel without the worker
    _PARSE
    + """
local unknown = 'unknown'
if ARGV[2] ~= '0' then unknown = 'remembered' end
if not value or (state == 'early' and owner == ARGV[1]) then
  if ARGV[2] ~= '0' then redis.call('SET', KEYS[1], 'early - - ' .. ARGV[1], 'PX', ARGV[2]) end
  if value then return 'remembered' end
  return unknown
end
if owner ~= ARGV[1] then return unknown end
if state == 'ended' then return 'unknown' end
if state == 'aborted' or state == 'repeated' then return {'already_aborted', generation, worker} end
if ARGV[4] ~= '' then redis.call(ARGV[4], ARGV[5] .. worker, generation .. ' ' .. ARGV[3]) end
redis.call('SET', KEYS[1], 'aborted ' .. generation .. ' ' .. worker .. ' ' .. owner, 'KEEPTTL')
return {'accepted', generation, worker}
"""
)
REASSERT = (  # ARGV: generation, owner, worker, time to remember in ms, then as in FLAG
    _PARSE
    + """
if value and (generation ~= ARGV[1] or state == 'ended') then return 0 end
if ARGV[6] ~= '' then redis.call(ARGV[6], ARGV[7] .. ARGV[3], ARGV[1] .. ' ' .. ARGV[5]) end
if not value then
  redis.call('SET', KEYS[1], 'repeated ' .. ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[2], 'PX', ARGV[4])
elseif state == 'live' then
  redis.call('SET', KEYS[1], 'aborted ' .. generation .. ' ' .. worker .. ' ' .. owner, 'KEEPTTL')
end
return 1
"""
)
RELEASE = (  # ARGV: generation, lifetime of the tombstone in ms
    _PARSE
    + """
if generation ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'ended ' .. generation .. ' ' .. worker .. ' ' .. owner, 'PX', ARGV[2])
if state == 'aborted' or state == 'repeated' then return 1 end
return 0
"""
)
HEARTBEAT = """
local held = redis.call('SET', KEYS[1], '1', 'PX', ARGV[1], 'XX')
if not held then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
if ARGV[2] ~= '' then redis.call(ARGV[2], ARGV[3], ARGV[4]) end
return held
"""
"""ARGV: TTL in ms, publish command or '', the worker's channel, the message."""
