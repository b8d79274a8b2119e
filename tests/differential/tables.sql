create table dept (dept text primary key, dname text not null);
insert into dept values ('dev', 'Software'), ('ops', 'Operations'), ('hr', 'Staff'), ('old', 'Sleeping');
create table emp (id int primary key, name text, dept text, salary numeric(10,2), hired date, at timestamptz, local timestamp, tm time, boss int, score float8,
 tags text[], doc jsonb, uid uuid, raw bytea, ok bool, d interval, small int2, big int8, numb numeric, fixed char(4));
insert into emp values
 (1, 'Ann', 'dev', 2500.50, '2020-01-15', '2020-01-15 08:30:00.5+00', '2020-01-15 08:30:00.25', '08:30', null, 1.5, '{x,y}', '{"a": 1, "b": {"c": "deep"}}', '00000000-0000-0000-0000-000000000001', '\x00ff', true, '1 day', 1, 9000000000000000000, 1.5, 'ab'),
 (2, 'Bob', 'dev', 1800, '2021-06-01', '2021-06-01 12:00+00', '2021-06-01 12:00', '12:00:01.5', 1, -2.25, '{}', '{"a": "1"}', '00000000-0000-0000-0000-000000000002', '\x', false, '2 hours 30 min', -5, -7, 123456789012345678901234567890.123456789, 'b'),
 (3, 'Cora', 'ops', 2100.75, '2021-12-31', '2021-12-31 23:59:59.999999+00', null, null, 1, 1e20, '{"a b",NULL,"q\"x"}', '[1, "two", null]', null, '\x6162', true, '1 mon 3 days', 120, 42, -0.000001, 'abcd'),
 (4, 'dan', 'ops', null, null, null, '2022-02-28 00:00', '00:00', 3, 'NaN', null, null, 'ffffffff-ffff-ffff-ffff-ffffffffffff', null, null, null, null, null, null, null),
 (5, 'Änne', null, 2100.75, '2022-02-28', '2022-02-28 00:00+00', '2022-02-28 12:34:56.789', '23:59:59.999999', 3, 0.1, '{x}', '{"b": null}', null, '\x61', true, '-1 day +02:03:04', 0, 0, 100, ''),
 (6, 'Eve', 'hr', 0.01, '1999-12-31', '1999-12-31 00:00+00', '1999-12-31 00:00', '01:02:03', 2, 'Infinity', '{y,z}', '"text"', '12345678-1234-1234-1234-123456789012', '\xdeadbeef', false, '36 hours', 7, 1, 1.50, 'a b')
