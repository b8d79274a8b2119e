select 'a' || 'b', 'a' || 1, 1 || 'a', 'a' || null, 'a' || true, 'n' || 1.50
select length('häß'), char_length('abc'), octet_length('häß'), bit_length('a')
select lower('AB'), upper('ab'), initcap('hello wORLD foo-bar')
select substring('hello', 2, 3), substring('hello' from 2), substring('hello' from 2 for 2), substr('hello', 3), substr('hello', 0, 3), substring('hello', -1, 4)
!22023 select substring('hello', 2, -1)
!42601 select substring('foobar' from 'o(.)b')
!42601 select substring('foobar', 'o+')
select left('hello', 2), left('hello', -2), right('hello', 2), right('hello', -2), left('hello', 0)
select position('l' in 'hello'), strpos('hello', 'l'), position('x' in 'hello'), position('' in 'a')
select trim('  x  '), ltrim('xxa', 'x'), rtrim('axx', 'x'), btrim('xyaxy', 'xy'), trim(both 'x' from 'xax'), trim(leading 'x' from 'xax')
select replace('hello', 'l', 'L'), replace('abc', '', 'x'), translate('12345', '143', 'ax'), reverse('abc'), repeat('ab', 3), repeat('ab', -1)
select lpad('x', 3), lpad('x', 3, 'ab'), rpad('x', 4, 'ab'), lpad('hello', 2), rpad('hello', 0)
select split_part('a,b,c', ',', 2), split_part('a,b,c', ',', -1), split_part('a', ',', 3)
select split_part('a,b', ',', 0)
select concat('a', null, 1, true), concat_ws(',', 'a', null, 'b'), concat_ws(null, 'a')
select ascii('a'), ascii(''), chr(65), chr(228)
+ select chr(0)
select md5('a'), encode('abc', 'hex'), encode('abc', 'base64')
!42601 select encode('\x00ff'::bytea, 'escape')
select sha256('abc')
select decode('616263', 'hex'), decode('YWJj', 'base64')
!42883 select format('%s is %s', 'a', 1), format('%I', 'A b'), format('%L', 'it''s'), format('%%'), format('%2$s %1$s', 'a', 'b'), format('%-5s|', 'x')
select quote_ident('a b'), quote_literal('it''s'), quote_nullable(null)
select starts_with('hello', 'he')
!0A000 select 'hello' ^@ 'he'
select 'abc' like 'a%', 'abc' like 'A%', 'abc' ilike 'A%', 'a_c' like 'a\_c', 'abc' like 'a\_c', 'abc' not like 'b%', '' like '', 'abc' like 'abc%', 'abc' like '_b_'
select 'a%c' like 'a!%c' escape '!', 'abc' like 'a!%c' escape '!'
+ select 'abc' like 'a\'
select null like 'a', 'a' like null
select 'a' ~~ 'a', 'a' !~~ 'b', 'A' ~~* 'a', 'a' !~~* 'B'
select 'abc' similar to 'a(b|x)c', 'abc' similar to 'a', 'abc' similar to '%(b|d)%', 'abc' not similar to 'x%', 'a' similar to '[a-c]'
select 'abc' ~ 'b', 'abc' ~ '^b', 'ABC' ~* 'b', 'abc' !~ 'x', 'ABC' !~* 'b', 'abc' ~ '^a.c$', 'a1' ~ '\d'
!2201B select 'ab' ~ 'a(?=b)'
select 'abc' ~ '('
select 'x' ~ null
select regexp_replace('foobarbaz', 'b..', 'X'), regexp_replace('foobarbaz', 'b..', 'X', 'g'), regexp_replace('foobarbaz', 'b(..)', 'X\1Y', 'g'), regexp_replace('Hello', 'h', 'j', 'i')
select regexp_replace('abc', '(b)', '[\&]')
select regexp_match('foobarbequebaz', '(bar)(beque)'), regexp_match('abc', 'x'), regexp_match('abc', 'b')
!42883 select regexp_matches('foobarbequebazilbarfbonk', '(b[^b]+)(b[^b]+)', 'g')
select regexp_split_to_array('a1b2c', '\d'), regexp_split_to_table('a b c', ' ')
~ select regexp_count('abcabc', 'b'), regexp_like('abc', 'B', 'i'), regexp_instr('abc', 'c')
!42883 select regexp_substr('abc', 'b.')
select string_to_array('a,b,,c', ','), string_to_array('abc', null), string_to_array('a,b', ',', 'b'), array_to_string(array['a', null, 'b'], ','), array_to_string(array['a', null, 'b'], ',', '*')
select overlay('Txxxxas' placing 'hom' from 2 for 4)
~ select 'abc'::varchar(2), 'abc'::char
!0A000 select 'a'::char(3) || 'b'
!0A000 select length('a '::char(5)), 'a'::char(3) = 'a'
~ select 'abc'::text::varchar(10), cast('a' as text), text 'abc', varchar 'x', E'a\nb', E'\x41'
!0A000 select U&'\0061'
select $$a'b$$, $x$a$$b$x$
select 'a' < 'b', 'a' < 'B', 'Z' < 'a', 'ä' > 'z', '' < 'a'
select 'a' = 'a ', 'a'::varchar = 'a '
select name, upper(name), length(name), name || '!' from emp order by id
select name from emp where name like '%a%' order by name
select name from emp where name ilike 'A%' order by 1
select name from emp where name ~ '^[A-C]' order by 1
select name from emp where name similar to '(A|B)%' order by 1
select max(name), min(name) from emp
select string_agg(name, ',' order by name) from emp
select string_agg(name, ', ' order by id desc) from emp
select dept, string_agg(name, ',' order by salary desc nulls last, name) from emp group by dept order by dept
select string_agg(distinct dept, ',' order by dept) from emp
select string_agg(name, ',') filter (where id < 3) from emp where id < 5
select string_agg(x, ',') from (values ('a'), (null), ('b')) v(x)
select string_agg(x, null) from (values ('a'), ('b')) v(x)
select string_agg(x, ',') from (values ('a')) v(x) where false
select fixed, length(fixed), fixed || '|', fixed = 'ab' from emp order by id
select name from emp where fixed = 'ab' order by id
select name collate "C" from emp order by 1
!42883 select unistr('\0441'), normalize('a'), to_ascii('a')
select 'abc'::bytea, '\x616263'::bytea, 'a\\b'::bytea, '\x'::bytea
select '\xabc'::bytea
select '\x61'::bytea || '\x62'::bytea
select length('\x6162'::bytea)
!42601 select substring('\x616263'::bytea from 2 for 1)
!42883 select get_byte('\x6162'::bytea, 1)
select raw from emp order by id
!22P02 select length(raw) from emp order by id
select md5(raw) from emp order by id
select raw from emp where raw = '\x00ff'
select encode(raw, 'hex') from emp order by id
!42883 select convert_from('\x616263'::bytea, 'UTF8'), convert_to('abc', 'UTF8')
select string_to_table('a,b', ',')
+ select levenshtein('a', 'b')
+ select 'a' 'b'
select concat(1.50, '|', 1.5::float8, '|', date '2020-01-02', '|', true)
select 'x' || date '2020-01-02', 'x' || now()::date - now()::date
select to_char(true, 'x')
