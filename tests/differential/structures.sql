-- arrays
select array[1, 2, 3], array['a', 'b c', null, ''], array[1.5, 2.5], array[true, false], array[date '2024-01-01'], array[]::int[], '{}'::text[], array[array[1, 2], array[3, 4]]
select '{1,2,3}'::int[], '{a,"b c",NULL}'::text[], '{1.5,2}'::numeric[]
!22P02 select '{{1,2},{3,4}}'::int[]
select '{1,x}'::int[]
select '{1,2'::int[]
select array[1, 'x']
~ select (array[1, 2, 3])[1], (array[1, 2, 3])[4], (array[1, 2, 3])[2:3], (array['a', 'b'])[0]
select array_length(array[1, 2, 3], 1), array_length(array[]::int[], 1), cardinality(array[1, 2]), array_ndims(array[1]), array_upper(array[1, 2], 1), array_lower(array[1, 2], 1), array_dims(array[1, 2])
~ select array[1, 2] || array[3], array[1, 2] || 3, 0 || array[1], array_append(array[1], 2), array_prepend(0, array[1]), array_cat(array[1], array[2])
~ select array_remove(array[1, 2, 1], 1), array_replace(array[1, 2], 1, 9), array_position(array['a', 'b'], 'b'), array_positions(array[1, 2, 1], 1)
select 2 = any(array[1, 2]), 3 = any(array[1, 2]), 3 > all(array[1, 2]), 1 = any('{1,2}'), null = any(array[1])
select array[1, 2] @> array[1], array[1] <@ array[1, 2], array[1, 2] = array[1, 2]
!0A000 select array[1, 2] && array[2, 3]
select array[1, 2] < array[1, 3]
select unnest(array[1, 2, 3])
!0A000 select * from unnest(array['a', 'b']) with ordinality
!0A000 select * from unnest(array['a', 'b']) with ordinality as t(x, n)
~ select * from unnest(array[1, 2], array['a', 'b']) as t(x, y)
select array_agg(x order by x desc) from (values (1), (3), (2)) v(x)
select array_agg(x) from (values (1)) v(x) where false
select array_agg(x order by x) from (values ('b'), (null), ('a')) v(x)
select array_agg(distinct x order by x) from (values (1), (1), (2)) v(x)
select array(select x from (values (2), (1)) v(x) order by x)
!42883 select array_to_json(array[1, 2]), to_json('a'::text), to_jsonb(1), row_to_json(row(1, 'a'))
!42883 select array_fill(0, array[3]), trim_array(array[1, 2, 3], 1)
!42883 select tags, tags[1], array_length(tags, 1) from emp order by id
!42883 select id from emp where 'x' = any(tags) order by id
!42883 select id from emp where tags @> array['x'] order by id
!42601 select id, unnest(tags) from emp order by 1, 2
select array_agg(name order by id) from emp
select dept, array_agg(id order by id) from emp group by dept order by dept
-- jsonb
select '{"a": 1, "b": [1, 2]}'::jsonb, '{"b":1,"a":2}'::jsonb, '{"b":1,  "a":2}'::json, '[1,null,true,"x"]'::jsonb, '1.50'::jsonb, '"x"'::jsonb, 'null'::jsonb
select '{"a":1,"a":2}'::jsonb, '{"n": 1e5, "m": 1.0, "big": 123456789012345678901234567890}'::jsonb, '"\u00e4"'::jsonb
select '{bad}'::jsonb
select ''::json
select '{"a": {"b": 1}}'::jsonb -> 'a', '{"a": {"b": 1}}'::jsonb -> 'x', '[1,2]'::jsonb -> 0, '[1,2]'::jsonb -> -1, '[1,2]'::jsonb -> 5
select '{"a": "x"}'::jsonb ->> 'a', '{"a": {"b": 1}}'::jsonb ->> 'a', '{"a": null}'::jsonb ->> 'a', '{"a": null}'::jsonb -> 'a', '{"a": 1.50}'::jsonb ->> 'a', '["x"]'::jsonb ->> 0
select '{"a": {"b": [1, 2]}}'::jsonb #> '{a,b}', '{"a": {"b": [1, 2]}}'::jsonb #>> '{a,b,1}', '{"a": 1}'::jsonb #> '{x,y}'
select '{"a": 1, "b": 2}'::jsonb @> '{"a": 1}', '{"a": 1}'::jsonb <@ '{"a": 1, "b": 2}', '[1,2,3]'::jsonb @> '[1]', '[1,2,3]'::jsonb @> '1', '{"a":[1,2]}'::jsonb @> '{"a":[2]}', '{"a": 1}'::jsonb @> '{"a": 1.0}'
select '{"a": 1}'::jsonb ? 'a', '{"a": 1}'::jsonb ?| array['b', 'a'], '{"a": 1}'::jsonb ?& array['a', 'b']
select '{"a": 1}'::jsonb || '{"b": 2}'
!42883 select '{"a": 1, "b": 2}'::jsonb - 'a'
!42883 select '[1,2,3]'::jsonb - 1
!0A000 select '{"a": {"b": 1}}'::jsonb #- '{a,b}'
select '{"a": 1}'::jsonb = '{"a": 1}', '{"a":1,"b":2}'::jsonb = '{"b":2,"a":1}', '1'::jsonb = '1.0'::jsonb
!0A000 select '1'::jsonb < '2'::jsonb
select ('{"a": 5}'::jsonb ->> 'a')::int + 1, ('{"a": "5"}'::jsonb -> 'a')::text, ('{"a": 5}'::jsonb -> 'a')::int, ('{"a": true}'::jsonb -> 'a')::bool
~ select json_build_object('a', 1, 'b', 'x'), json_build_array(1, 'a')
!42883 select jsonb_build_object('a', 1, 'b', null)
select jsonb_array_length('[1,2,3]'), jsonb_typeof('{"a":1}'), jsonb_typeof('1'), jsonb_object_keys('{"a":1,"b":2}')
~ select jsonb_array_elements('[1,"a"]'), jsonb_array_elements_text('["a","b"]')
!42883 select * from jsonb_each('{"a":1,"b":"x"}')
!42883 select * from jsonb_each_text('{"a":1,"b":"x"}')
~ select * from jsonb_array_elements('[{"a":1},{"a":2}]') e(value)
select e ->> 'a' from jsonb_array_elements('[{"a":1},{"a":2}]') e
!42883 select jsonb_set('{"a":1}', '{a}', '2'), jsonb_strip_nulls('{"a":null}'), jsonb_pretty('{"a":1}'), jsonb_insert('[1]', '{0}', '0')
!42883 select json_agg(x), jsonb_agg(x) from (values (1), (2)) v(x)
!42883 select jsonb_object_agg(k, v) from (values ('a', 1), ('b', 2)) t(k, v)
!42883 select jsonb_path_query('{"a":[1,2]}', '$.a[*]'), jsonb_path_exists('{"a":1}', '$.a')
select doc, doc -> 'a', doc ->> 'a', doc -> 'b' -> 'c', doc #>> '{b,c}' from emp order by id
select id from emp where doc @> '{"a": 1}' order by id
select id from emp where doc ->> 'a' = '1' order by id
select id from emp where doc ? 'b' order by id
select (doc ->> 'a')::int * 2 from emp where doc ->> 'a' is not null order by id
select doc ->> 'a' as a, count(*) from emp group by 1 order by 1
!42883 select to_jsonb(emp) ->> 'name' from emp order by id
!42883 select row_to_json(e) from (select id, name from emp order by id limit 1) e
-- uuid, bytea, others
select 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid
!22P02 select '{a0eebc999c0b4ef8bb6d6bb9bd380a11}'::uuid
select 'x'::uuid
select uid, uid::text from emp order by id
select id from emp where uid = '00000000-0000-0000-0000-000000000001'
select id from emp where uid = 'nonsense'
select uid from emp order by uid nulls last
select min(uid::text) from emp
select gen_random_uuid() is not null
!42601 select inet '192.168.0.1/24', '10.0.0.1'::inet < '10.0.0.2'::inet, host(inet '10.0.0.1/8')
!42883 select '1,2'::point, '[1,5)'::int4range, int4range(1, 5) @> 3
!0A000 select 'a b'::tsvector
!0A000 select b'101', x'1F'
select row(1, 'a', null), (1, 2) = (1, 2), (1, 2) < (1, 3), (1, null) = (1, 2), (1, 2) <> (1, 3), row(1, 2) is null, row(null, null) is null, (1, 2) in ((1, 2), (3, 4)), (2, 1) > (1, 9), (1, 2) >= (1, 2), (1, null) < (2, null)
select (1, 2) = (1, 2, 3)
select null = null, null is null, null is distinct from null, 1 is distinct from null, 1 is not distinct from 1, null is not distinct from null
select true and null, false and null, true or null, false or null, not null::bool, true is true, null::bool is unknown, false is not true
!42601 select 2 between symmetric 3 and 1
select 1 between 1 and 2, 1 in (1, null), 2 in (1, null), 2 not in (1, null), 1 not in (2, 3)
select nullif(1, 1), nullif(1, 2), coalesce(null, 'a')
!42883 select num_nulls(1, null)
select 1::text, 1.50::text, true::text, 1.5::float8::text, '\x61'::bytea::text, array[1,2]::text, null::text
select 'a'::nothing
select 1::nothing
select null::nothing
select cast('1' as no_such_type)
~ select 1::int4, 1::integer, 1::bigint, 1::smallint, 1::real, 1::double precision, 1::decimal, 1::oid, '1'::int8
!42883 select true::numeric
!22P02 select 1::uuid
select 1::date
select now()::int
