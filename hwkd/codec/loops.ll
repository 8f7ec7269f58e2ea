; The loops of hwkd/codec/entropy.py, for LLVM: hwkd/codec/loops.py compiles them when something is first coded.
;
; hwkd/codec/plain.py is the same coder in Python, and entropy.py says how a state, a word and a bin relate. Every pointer is to
; the first number of an array of the type that is loaded there. Nothing here looks whether a place lies within an array:
; entropy.py checks the indexes and hwkd/codec/tables.py the tables, and positions and words are counted against their ends.

; Code the %size symbols, of which %coded have another index than %silent, the last one first; those without a bin as their
; table's escape.
;
; states: in and out. words: room for %coded, filled from the end. escaped, excepted: room for %size each, the positions of the
; escapes, and of silent symbols that are not 0, both falling; how many goes to the first two of %counts. Returns where the
; words begin.
define i64 @rans_encode(ptr %symbols, ptr %indexes, i64 %size, i64 %coded, i64 %silent, ptr %packed, ptr %starts,
                        ptr %offsets, ptr %states, i64 %lanes, ptr %words, ptr %escaped, ptr %excepted, ptr %counts) {
entry:
  %lane.mask = sub i64 %lanes, 1
  br label %head
head:
  %i.after = phi i64 [ %size, %entry ], [ %i, %next ]
  %c.after = phi i64 [ %coded, %entry ], [ %c.next, %next ]
  %at = phi i64 [ %coded, %entry ], [ %at.next, %next ]
  %escapes = phi i64 [ 0, %entry ], [ %escapes.next, %next ]
  %exceptions = phi i64 [ 0, %entry ], [ %exceptions.next, %next ]
  %done = icmp eq i64 %i.after, 0
  br i1 %done, label %exit, label %body
body:
  %i = sub i64 %i.after, 1
  %i32 = trunc i64 %i to i32
  %table.at = getelementptr i16, ptr %indexes, i64 %i
  %table16 = load i16, ptr %table.at
  %table = zext i16 %table16 to i64
  %symbol.at = getelementptr i32, ptr %symbols, i64 %i
  %symbol32 = load i32, ptr %symbol.at
  %is.silent = icmp eq i64 %table, %silent
  br i1 %is.silent, label %passing, label %finding
passing:
  ; Written before it is known to stay.
  %excepted.at = getelementptr i32, ptr %excepted, i64 %exceptions
  store i32 %i32, ptr %excepted.at
  %is.exception = icmp ne i32 %symbol32, 0
  %one = zext i1 %is.exception to i64
  %exceptions.more = add i64 %exceptions, %one
  br label %next
finding:
  %c = sub i64 %c.after, 1
  %start.at = getelementptr i64, ptr %starts, i64 %table
  %start = load i64, ptr %start.at
  %end.at = getelementptr i64, ptr %start.at, i64 1
  %end = load i64, ptr %end.at
  %places = sub i64 %end, %start
  %escape = sub i64 %places, 2
  %symbol = sext i32 %symbol32 to i64
  %offset.at = getelementptr i32, ptr %offsets, i64 %table
  %offset32 = load i32, ptr %offset.at
  %offset = sext i32 %offset32 to i64
  %found = sub i64 %symbol, %offset
  ; Unsigned: what is below the first bin is above the last one, too.
  %has.bin = icmp ult i64 %found, %escape
  br i1 %has.bin, label %coding, label %escaping
escaping:
  %escaped.at = getelementptr i32, ptr %escaped, i64 %escapes
  store i32 %i32, ptr %escaped.at
  %escapes.more = add i64 %escapes, 1
  br label %coding
coding:
  %bin = phi i64 [ %found, %finding ], [ %escape, %escaping ]
  %escapes.found = phi i64 [ %escapes, %finding ], [ %escapes.more, %escaping ]
  %place = add i64 %start, %bin
  %pair.at = getelementptr i32, ptr %packed, i64 %place
  %pair32 = load i32, ptr %pair.at
  %pair = zext i32 %pair32 to i64
  %frequency = and i64 %pair, 65535
  %first = lshr i64 %pair, 16
  %lane = and i64 %c, %lane.mask
  %x.at = getelementptr i64, ptr %states, i64 %lane
  %x = load i64, ptr %x.at
  %limit = shl i64 %frequency, 47
  %is.over = icmp uge i64 %x, %limit
  br i1 %is.over, label %writing, label %growing
writing:
  %at.less = sub i64 %at, 1
  %word.at = getelementptr i32, ptr %words, i64 %at.less
  %word = trunc i64 %x to i32
  store i32 %word, ptr %word.at
  %x.high = lshr i64 %x, 32
  br label %growing
growing:
  %at.coded = phi i64 [ %at, %coding ], [ %at.less, %writing ]
  %x.fit = phi i64 [ %x, %coding ], [ %x.high, %writing ]
  ; (x // f) 2^16 + x mod f + s, as x + (x // f) (2^16 - f) + s
  %quotient = udiv i64 %x.fit, %frequency
  %rest = sub i64 65536, %frequency
  %grown = mul i64 %quotient, %rest
  %x.grown = add i64 %x.fit, %grown
  %x.next = add i64 %x.grown, %first
  store i64 %x.next, ptr %x.at
  br label %next
next:
  %c.next = phi i64 [ %c.after, %passing ], [ %c, %growing ]
  %at.next = phi i64 [ %at, %passing ], [ %at.coded, %growing ]
  %escapes.next = phi i64 [ %escapes, %passing ], [ %escapes.found, %growing ]
  %exceptions.next = phi i64 [ %exceptions.more, %passing ], [ %exceptions, %growing ]
  br label %head
exit:
  store i64 %escapes, ptr %counts
  %counts.1 = getelementptr i64, ptr %counts, i64 1
  store i64 %exceptions, ptr %counts.1
  ret i64 %at
}

; Decode those of %size symbols that have another index than %silent; any words may be given.
;
; states: in and out. symbols: out, silent ones stay as they are; an escaped one gets the symbol after the last with a bin.
; escaped: room for %most.escapes, the positions of the escapes, rising; how many goes to %counts. Returns how many words
; were read, or -1 where there are too few, or -2 where there are more escapes than room for them.
define i64 @rans_decode(ptr %words, i64 %most.words, ptr %indexes, i64 %size, i64 %silent, ptr %packed, ptr %starts,
                        ptr %offsets, ptr %lookup, ptr %states, i64 %lanes, ptr %symbols, ptr %escaped,
                        i64 %most.escapes, ptr %counts) {
entry:
  %lane.mask = sub i64 %lanes, 1
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %c = phi i64 [ 0, %entry ], [ %c.next, %next ]
  %at = phi i64 [ 0, %entry ], [ %at.next, %next ]
  %escapes = phi i64 [ 0, %entry ], [ %escapes.next, %next ]
  %more = icmp ult i64 %i, %size
  br i1 %more, label %body, label %exit
body:
  %i.next = add i64 %i, 1
  %table.at = getelementptr i16, ptr %indexes, i64 %i
  %table16 = load i16, ptr %table.at
  %table = zext i16 %table16 to i64
  %is.silent = icmp eq i64 %table, %silent
  br i1 %is.silent, label %next, label %finding
finding:
  %start.at = getelementptr i64, ptr %starts, i64 %table
  %start = load i64, ptr %start.at
  %lane = and i64 %c, %lane.mask
  %x.at = getelementptr i64, ptr %states, i64 %lane
  %x = load i64, ptr %x.at
  %slot = and i64 %x, 65535
  %slot.high = lshr i64 %slot, 8
  %lookup.first = shl i64 %table, 8
  %lookup.place = add i64 %lookup.first, %slot.high
  %hint.at = getelementptr i16, ptr %lookup, i64 %lookup.place
  %hint16 = load i16, ptr %hint.at
  %hint = zext i16 %hint16 to i64
  br label %search
search:
  ; The bins of a table cover every slot, so the search ends within it.
  %bin = phi i64 [ %hint, %finding ], [ %bin.next, %search ]
  %bin.next = add i64 %bin, 1
  %place = add i64 %start, %bin
  %pair.at = getelementptr i32, ptr %packed, i64 %place
  %pair32 = load i32, ptr %pair.at
  %pair = zext i32 %pair32 to i64
  %frequency = and i64 %pair, 65535
  %first = lshr i64 %pair, 16
  %into = sub i64 %slot, %first
  %is.after = icmp uge i64 %into, %frequency
  br i1 %is.after, label %search, label %decoding
decoding:
  %x.high = lshr i64 %x, 16
  %x.scaled = mul i64 %frequency, %x.high
  %x.less = add i64 %x.scaled, %into
  %is.under = icmp ult i64 %x.less, 2147483648
  br i1 %is.under, label %reading, label %storing
reading:
  %has.word = icmp ult i64 %at, %most.words
  br i1 %has.word, label %taking, label %out.of.words
taking:
  %word.at = getelementptr i32, ptr %words, i64 %at
  %word32 = load i32, ptr %word.at
  %word = zext i32 %word32 to i64
  %x.shifted = shl i64 %x.less, 32
  %x.filled = or i64 %x.shifted, %word
  %at.more = add i64 %at, 1
  br label %storing
storing:
  %x.next = phi i64 [ %x.less, %decoding ], [ %x.filled, %taking ]
  %at.read = phi i64 [ %at, %decoding ], [ %at.more, %taking ]
  store i64 %x.next, ptr %x.at
  %offset.at = getelementptr i32, ptr %offsets, i64 %table
  %offset = load i32, ptr %offset.at
  %bin32 = trunc i64 %bin to i32
  %symbol = add i32 %bin32, %offset
  %symbol.at = getelementptr i32, ptr %symbols, i64 %i
  store i32 %symbol, ptr %symbol.at
  %end.at = getelementptr i64, ptr %start.at, i64 1
  %end = load i64, ptr %end.at
  %escape.place = sub i64 %end, 2
  %is.escape = icmp eq i64 %place, %escape.place
  br i1 %is.escape, label %escaping, label %counting
escaping:
  %has.room = icmp ult i64 %escapes, %most.escapes
  br i1 %has.room, label %noting, label %out.of.escapes
noting:
  %escaped.at = getelementptr i32, ptr %escaped, i64 %escapes
  %i32 = trunc i64 %i to i32
  store i32 %i32, ptr %escaped.at
  %escapes.more = add i64 %escapes, 1
  br label %counting
counting:
  %escapes.found = phi i64 [ %escapes, %storing ], [ %escapes.more, %noting ]
  %c.more = add i64 %c, 1
  br label %next
next:
  %c.next = phi i64 [ %c, %body ], [ %c.more, %counting ]
  %at.next = phi i64 [ %at, %body ], [ %at.read, %counting ]
  %escapes.next = phi i64 [ %escapes, %body ], [ %escapes.found, %counting ]
  br label %head
out.of.words:
  br label %exit
out.of.escapes:
  br label %exit
exit:
  %result = phi i64 [ %at, %head ], [ -1, %out.of.words ], [ -2, %out.of.escapes ]
  store i64 %escapes, ptr %counts
  ret i64 %result
}
