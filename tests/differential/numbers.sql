-- whole numbers
select 2147483647 + 1
select -2147483648 - 1
select 2147483647 * 2
select 9223372036854775807 + 1
select 9223372036854775807::int8 * 2
select 32767::int2 + 1::int2
select (-32768)::int2
select abs(-5), sign(-3), mod(7, 3), 7 % -3, -7 / 2, 7 / -2
select 1 / 0
select 1 % 0
select 1.0 / 0
select 1::float8 / 0
select 0::float8 / 0
select mod(1, 0)
select 3000000000::int
select 40000::int2
select 99999999999999999999::int8
select 1e10::int
select 2.5::int, 3.5::int, -2.5::int, 0.5::int, 1.5::int
select 2.5::float8::int, 3.5::float8::int, -2.5::float8::int, 1e3::int
select 'NaN'::float8::int
select 1e300::float8::int8
select 'x'::int
select ''::int
select ' 12 '::int, '-7'::int, '+8'::int8
select '1.5'::int
select '99999999999'::int
select '40000'::int2
select '99999999999999999999'::int8
select 1::bool, 0::bool, 5::bool
select true::int, false::int
select 'maybe'::bool
select 't'::bool, 'yes'::bool, 'off'::bool, '1'::bool, 'f'::bool, 'TRUE'::bool
~ select 5 & 3, 5 | 3, 1 << 4, -8 >> 1
~ select 5 # 3
!0A000 select ~5
select 2 ^ 10
!0A000 select |/ 16.0, ||/ 27.0
!0A000 select @ -5
~ select gcd(12, 18), lcm(4, 6), factorial(5)
select greatest(1, 2, null), least(3, 1), greatest(null, null)
~ select pg_typeof(1), pg_typeof(1.5), pg_typeof(3000000000), pg_typeof(99999999999999999999)
~ select pg_typeof(1 + 1.5), pg_typeof(1::int2 + 1), pg_typeof(1 / 2.0)
-- numeric
select 1.5
select 1.50, 0.10, -0.0, 00012.5000
select 1.0 / 3
select 2.0 / 3
select 10.0 / 3.0, 1 / 3.0, 100000000.0 / 3
select 1.5 / 2, 6.0 / 2
select 1e-5 / 3, 0.0001 / 7
~ select 12345678901234567890 / 7.0
select 1.1 + 2.22, 1.1 * 2.22, 5.5 - 0.05
select 1.5 % 1, 7.25 % 2.5
select 12345678901234567890123456789012345678.5
select 12345678901234567890123456789012345678 + 1
select 123456789012345678901234567890123456789012345
select 99999999999999999999999999999999999999 * 99999999999999999999999999999999999999
select 0.00000000000000000000000000000000000001
select 1.23456789012345678901234567890::numeric
select '1.5'::numeric, '0.123456789012345'::numeric, '1e5'::numeric, '1e-5'::numeric
select '1.5'::numeric(10,4), 2.345::numeric(10,2), -2.345::numeric(10,2), 2.5::numeric(3,0)
select 12345.678::numeric(5,2)
select 5::numeric, 5::numeric(10,2)
select '12345.678'::numeric(5,2)
select 'NaN'::numeric
select 'Infinity'::numeric
select 'abc'::numeric
select '1.2.3'::numeric
select 1.5::float8, 1.5::float4, 0.1::float4, 0.1::float4::float8
select 1.1::float8 + 2.2::float8, 1e20::float8, 1e15::float8, 1e16::float8, 1e-5::float8, 123456789.123456789::float8
select 'NaN'::float8, 'Infinity'::float8, '-Infinity'::float8, -0.0::float8
select 1e400::float8
select '1e400'::float8
select 1e300::float8 * 1e300::float8
select 'x'::float8
select 3.14159::float8::numeric, 0.1::float8::numeric, 1e20::float8::numeric
select round(2.5), round(3.5), round(-2.5), round(2.5::float8), round(3.5::float8)
select round(2.567, 2), round(1234.567, -2), round(2, 1), trunc(2.567, 1), trunc(-2.5), trunc(2.7::float8)
select ceil(2.1), ceil(-2.1), floor(2.9), floor(-2.1), ceiling(2.0), ceil(2.1::float8)
select sqrt(2::float8), sqrt(16), power(2, 3), power(2::float8, 0.5)
~ select sqrt(2.0), cbrt(27), power(2.0, 3)
select sqrt(-1)
select ln(2.0::float8), ln(10), log(100), exp(1.0::float8)
~ select log(2.0, 64.0), exp(1.0)
select ln(0)
select ln(-1::float8)
select power(0::float8, -1)
select div(7, 2), div(7.5, 2), div(-7, 2), mod(7.5, 2)
select pi(), degrees(pi()), radians(180.0::float8), sin(0), cos(0), atan2(1, 1), tan(0.5::float8)
!42883 select width_bucket(5.35, 0.024, 10.06, 5)
!42883 select scale(1.230), min_scale(1.230), trim_scale(1.230)
select to_hex(255), to_hex(-1)
select to_char(1234.5, '9,999.99'), to_char(-5, '999'), to_char(0.5, 'FM0.00'), to_char(12, '0000')
!42883 select to_number('1,234.5', '9,999.9')
select avg(x) from (values (1), (2), (4)) v(x)
~ select avg(x), sum(x), min(x), max(x), count(x) from (values (1.5), (2.25), (null)) v(x)
select avg(x), sum(x) from (values (1::int8), (2)) v(x)
~ select sum(x), pg_typeof(sum(x)) from (values (2147483647), (1)) v(x)
~ select sum(x), pg_typeof(sum(x)) from (values (9223372036854775807::int8), (1)) v(x)
select sum(x), avg(x) from (values (1.5::float8), (2)) v(x)
~ select sum(x) from (values (1.5::float4), (2)) v(x)
~ select sum(x), pg_typeof(sum(x)) from (values (1::int2), (2)) v(x)
select sum(x) from (values (1)) v(x) where false
~ select variance(x), stddev(x), var_pop(x), stddev_pop(x) from (values (1::float8), (2), (4)) v(x)
~ select stddev(x) from (values (1), (2), (4)) v(x)
~ select variance(x) from (values (1), (2), (4)) v(x)
select corr(x, y), covar_pop(x, y), regr_slope(x, y) from (values (1::float8, 2::float8), (2, 4.5), (3, 6)) v(x, y)
select bit_and(x), bit_or(x), bit_xor(x) from (values (6), (3)) v(x)
select salary, salary * 2, salary / 3, salary + 1, -salary from emp order by id
select sum(salary), avg(salary), min(salary), max(salary) from emp
select dept, sum(salary), avg(salary), count(*) from emp group by dept order by dept
select id, score, score * 2, score / 3 from emp order by id
select sum(score), avg(score) from emp
select sum(big), avg(big), sum(small), avg(small), sum(id), avg(id) from emp
select big + 1 from emp where id = 1
select big * 1000 from emp where id = 1
select small * small from emp order by id
select id / (id - 1) from emp
select numb from emp order by id
~ select numb + 1 from emp order by id
select sum(numb) from emp
~ select numb from emp where numb > 1 order by id
select id from emp order by numb nulls first
select round(salary / 7, 2), round(salary) from emp order by id
select round(avg(salary), 2) from emp
select sum(salary) / count(*) from emp
select 100.0 * count(*) filter (where ok) / count(*) from emp
select 1.0 * 3, 1.0 + 3, 2 * 1.50
~ select case when id > 2 then 1 else 2.5 end from emp order by id
~ select coalesce(null, 1, 2.5), coalesce(null::numeric, 0)
select random() between 0 and 1
select 1 = 1.0, 1 < 1.5, 1::float8 = 1.0, 0.1::float8 = 0.1, 0.1::float4 = 0.1
+ select 1 + null, null + null, 5 / null
select 10 / 4, 10 / 4.0, 10 % 4, 10::float8 / 4
select '5' + 3, '5' * 2, 3 - '1'
+ select 1_000
+ select 0x10
