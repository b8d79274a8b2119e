select * from emp order by id
select id, name from emp order by name desc nulls first limit 3 offset 1
select id from emp order by salary desc nulls last, id fetch first 2 rows only
select id from emp order by salary nulls first, id offset 2 rows fetch next 3 rows only
!0A000 select dept, id from emp order by dept, salary desc, id fetch first 1 row with ties
select id from emp order by salary asc, id
select id from emp order by salary desc, id
select distinct dept from emp order by dept
select distinct on (dept) dept, name, salary from emp order by dept, salary desc nulls last, id
select distinct on (dept) dept, id from emp order by dept nulls first, id desc
select id as "Big", name "n m" from emp order by "Big" limit 1
select 1 as a, 2 as a, 3
select count(*), count(dept), count(distinct dept), count(1) from emp
select dept, count(*) from emp group by dept having count(*) > 1 order by 2 desc, 1
select dept, ok, count(*) from emp group by dept, ok order by 1, 2
select dept, count(*) from emp group by 1 order by 1
select upper(dept) d, count(*) from emp group by d order by d
select dept, count(*), grouping(dept) from emp group by rollup(dept) order by 1 nulls last, 3
select dept, ok, count(*) from emp group by cube(dept, ok) order by 1, 2, 3
select dept, ok, sum(id) from emp group by grouping sets ((dept), (ok), ()) order by 1, 2, 3
select dept, ok, grouping(dept, ok), count(*) from emp group by rollup(dept, ok) order by 3, 1, 2
select dept, count(*) filter (where salary > 1000) from emp group by dept order by 1
select bool_and(ok), bool_or(ok), every(ok) from emp
select bool_and(x), bool_or(x) from (values (true), (null)) v(x)
select percentile_cont(0.5) within group (order by salary) from emp
select percentile_cont(0.5) within group (order by score) from emp
!42883 select percentile_disc(0.5) within group (order by id) from emp
!42883 select percentile_cont(array[0.25, 0.75]) within group (order by score) from emp
!42883 select mode() within group (order by dept) from emp
select dept, percentile_cont(0.5) within group (order by score) from emp group by dept order by 1
!42883 select rank(3) within group (order by id) from emp
select e.name, b.name from emp e left join emp b on e.boss = b.id order by e.id
select e.name, b.name from emp e join emp b on e.boss = b.id order by e.id
select e.name, b.name from emp e right join emp b on e.boss = b.id order by b.id, e.id
select e.id, b.id from emp e full join emp b on e.boss = b.id order by 1 nulls last, 2 nulls last
select count(*) from emp a cross join emp b
select count(*) from emp a, emp b where a.dept = b.dept
select id, dname from emp join dept using (dept) order by id
select id, dept, dname from emp natural join dept order by id limit 2
select id, dname from emp left join dept using (dept) order by id
!0A000 select dept, dname from emp full join dept using (dept) order by 1 nulls last, 2 limit 20
select e.id, l.n from emp e, lateral (select count(*) n from emp x where x.boss = e.id) l order by 1
select e.id, l.name from emp e left join lateral (select name from emp x where x.boss = e.id order by x.id limit 1) l on true order by 1
select e.id, g from emp e, generate_series(1, e.id) g where e.id < 4 order by 1, 2
!42601 select e.id, l.* from emp e cross join lateral (values (e.id), (e.id * 10)) l(v) order by 1, 2
select id from emp e where exists (select 1 from emp x where x.boss = e.id) order by id
select id from emp e where not exists (select 1 from emp x where x.boss = e.id) order by id
select id from emp where dept in (select dept from dept where dname like 'S%') order by id
select id from emp where dept not in (select dept from dept where dname like 'S%') order by id
select id from emp where dept not in (select dept from emp) order by id
select id, (select max(x.salary) from emp x where x.dept = e.dept) from emp e order by id
select id from emp e where salary > (select avg(salary) from emp x where x.dept = e.dept) order by id
select id, (select name from emp x where x.id = e.boss) from emp e order by id
select (select id from emp)
select id from emp where salary = (select max(salary) from emp)
!0A000 select id from emp where salary >= all (select salary from emp where salary is not null)
!0A000 select id from emp where salary > any (select salary from emp where dept = 'ops') order by id
select id from emp where id = some (select boss from emp) order by id
!42601 select id from emp where (dept, ok) in (select dept, ok from emp where id = 1) order by id
select id, exists (select 1 from dept where dept.dept = emp.dept) from emp order by id
select a from (select id a from emp) t where a < 3 order by a
select * from (values (1, 'a'), (2, 'b')) t(x, y) order by x
values (1, 'a'), (2, null)
~ values (1), (2.5)
values (1, 'a'), (2)
select 1 union select 2 union select 1 order by 1
select 1 union all select 1
select id from emp union select boss from emp order by 1
select id from emp intersect select boss from emp order by 1
select boss from emp except select id from emp order by 1
!0A000 select id from emp except all select boss from emp order by 1
!0A000 select boss from emp intersect all select id from emp order by 1
!0A000 select boss from emp except all select 1 order by 1
!0A000 select 1 intersect all select 1
+ select 1 union select 'x'
select 1, 2 union select 1
~ select 1 union select 2.5 order by 1
select null union select 1 order by 1
(select 1 union select 2) intersect select 2
select 1 union select 2 intersect select 2 order by 1
select * from ((select id from emp order by id limit 1) union all (select id from emp order by id desc limit 1)) t order by id
with t as (select id from emp where id < 3) select * from t order by id
with t(a, b) as (select id, name from emp) select b from t where a = 1
with a as (select 1 x), b as (select x + 1 y from a) select * from a, b
with recursive t(n) as (values (1) union all select n + 1 from t where n < 5) select * from t
with recursive t(n) as (select 1 union select n % 3 + 1 from t) select * from t order by 1
with recursive t as (select id, boss, name, 1 as depth from emp where boss is null union all select e.id, e.boss, e.name, t.depth + 1 from emp e join t on e.boss = t.id) select id, depth from t order by depth, id
with recursive t(n, s) as (select 1, 'a'::text union all select n + 1, s || 'b' from t where n < 3) select * from t
with t as materialized (select 1 a) select * from t
select id, row_number() over (order by salary desc nulls last, id) from emp order by id
select id, rank() over (order by dept), dense_rank() over (order by dept), percent_rank() over (order by dept), cume_dist() over (order by dept), ntile(3) over (order by id) from emp order by id
select id, sum(salary) over (partition by dept), avg(id) over (partition by dept) from emp order by id
select id, sum(id) over (order by id), sum(id) over (order by id rows between 1 preceding and 1 following), count(*) over () from emp order by id
select id, lag(id) over (order by id), lead(id, 2, -1) over (order by id), first_value(id) over (order by id), last_value(id) over (order by id), nth_value(id, 2) over (order by id) from emp order by id
select id, sum(id) over w, max(name) over w from emp window w as (partition by dept order by id) order by id
select id, sum(id) over (order by id range between 1 preceding and current row), sum(id) over (order by id groups between 1 preceding and current row) from emp order by id
!42601 select id, sum(id) over (order by id rows between unbounded preceding and current row exclude current row) from emp order by id
select id, count(*) filter (where ok) over (order by id) from emp order by id
select dept, sum(sum(id)) over (order by dept) from emp group by dept order by dept
select * from (select id, row_number() over (partition by dept order by id) rn from emp) t where rn = 1 order by id
select id, sum(salary) over (order by hired range between interval '1 year' preceding and current row) from emp order by hired, id
select case when id = 1 then 'one' when id = 2 then 'two' else 'many' end from emp order by id
select case id when 1 then 'one' end from emp order by id
select case when true then 1 else 1 / 0 end
select id from emp where case when id = 0 then 1 / id > 0 else true end order by id
select coalesce(dept, 'none'), nullif(dept, 'dev') from emp order by id
select * from generate_series(1, 3)
select * from generate_series(3, 1, -1) g
!0A000 select * from generate_series(1, 3) with ordinality
select generate_series(1, 2), generate_series(1, 3)
select * from generate_series(1, 0)
select * from generate_series(1, 5, 0)
!42883 select * from generate_series(1.5, 3.0, 0.5) g
select g * 2 from generate_series(1, 3) g
select count(*) from generate_series(1, 100000)
select a.g, b.g from generate_series(1, 2) a(g), generate_series(1, 2) b(g) order by 1, 2
table dept
select 1 where false
!42703 select where false
select from emp where id < 3
!42703 select emp from emp where id = 1
select emp.* from emp where id = 1
!42703 select count(emp) from emp
select id from emp order by 2
select id from emp order by nothing
select id from emp group by dept
select sum(count(*)) from emp
select id from emp where count(*) > 1
!0A000 select id from emp where row_number() over () = 1
select nothing from emp
select emp.nothing from emp
select x.id from emp
select id from emp e, emp f
select nothing(1)
select length(1, 2)
+ select length(1)
select upper()
select lower(1)
select 1 + 'x'
!42883 select 'a' + 'b'
select true + 1
select date '2024-01-01' + date '2024-01-01'
select 1 = 'x'
select 1 and true
select not 1
select * from nothing
select * from nothing.emp
!3D000 select * from a.b.c
select id from emp limit -1
!42601 select id from emp limit 'x'
select id from emp order by id limit null
select id from emp order by id limit 1 + 1
select id from emp order by id offset 7
select id frm emp
select 'abc
select * from
selec 1
!0A000 select count(distinct x, y) from (values (1, 2)) v(x, y)
select distinct on (dept) id from emp order by id
select 1 from emp having count(*) > 100
select max(id) from emp having max(id) > 2
select count(*) from emp where false
select max(id), min(name), sum(salary), avg(score), array_agg(id), string_agg(name, ','), bool_and(ok), count(*) from emp where false
select id from emp tablesample bernoulli (100) order by id
!42703 select ctid from emp limit 0
!42703 select tableoid::regclass from emp limit 1
!42703 select e from (values (1, 2)) e(a, b)
!42703 select (e).a from (values (1, 2)) e(a, b)
select current_database() is not null, current_user is not null, version() like 'PostgreSQL 15%'
select pg_backend_pid() > 0, pg_is_in_recovery()
+ select any_value(id) from emp
select min(x) from (values (array[1,2]), (array[1])) v(x)
+ select first_value(id) from emp
select count(*) from emp where ok
select count(*) from emp where not ok
select count(*) from emp where ok is null
select name from emp where id in (1, 3, 5) order by id
select name from emp where id = any(array[1, 3]) order by id
select name from emp where (id, dept) = (1, 'dev')
select name from emp where id between 2 and 3 order by id
select name from emp where dept = 'dev' and (ok or salary > 1500) order by id
select name from emp where dept is distinct from 'dev' order by id
select name from emp where name > 'B' and name < 'D' order by name
select ok, count(*) from emp group by ok order by ok
select ok from emp order by ok desc, id
select score from emp order by score desc, id
select score from emp where score = 'NaN' or score > 100 order by id
select max(score), min(score) from emp
select score, count(*) from emp group by score order by score
select -score, abs(score), round(score) from emp order by id
select id % 2 as odd, sum(id) from emp group by id % 2 order by odd
select id + 1 as id from emp order by id desc limit 2
select id, id from emp order by id limit 1
select e.*, d.dname from emp e join dept d on d.dept = e.dept where e.id = 1
select sum(case when ok then 1 else 0 end), sum(case when ok then salary end) from emp
select count(*) from (select 1 from emp limit 3) x
select 'a' as x union all select 'b' order by x desc
select x, y from (values (1, 2), (1, null), (null, 3)) v(x, y) order by x nulls first, y desc
select * from emp e join lateral (select e.id + 1 as nxt) n on n.nxt = 3
~ select pg_typeof(count(*)), pg_typeof(sum(id)), pg_typeof(avg(id)), pg_typeof(max(name)), pg_typeof(array_agg(id)), pg_typeof(bool_and(ok)), pg_typeof(min(salary)), pg_typeof(string_agg(name, ',')) from emp
select dept, avg(salary) from emp group by dept order by avg(salary) nulls last, dept
select dept from emp group by dept having avg(salary) > 1000 order by dept
select dept, avg(salary) filter (where ok) from emp group by dept order by dept
select avg(distinct salary), sum(distinct salary) from emp
select dept, max(salary) - min(salary), sum(salary) / nullif(count(*), 0) from emp group by dept order by dept
select coalesce(avg(salary), 0), coalesce(sum(salary) / 3, 1) from emp
select round(avg(salary) * 100 / 3, 1) from emp
select id, salary / sum(salary) over () from emp order by id
select count(*) from emp where salary / 2 > 900
select extract(epoch from at - local) from emp order by id
select id from emp where at between '2021-01-01' and '2022-01-01' order by id
select id from emp where hired in ('2020-01-15', '2022-02-28') order by id
select id from emp where uid in ('00000000-0000-0000-0000-000000000001') order by id
select id from emp where d > '1 day' order by id
select id from emp where d = interval '24 hours' order by id
select max(d), min(d) from emp
select dept, max(d) from emp group by dept order by dept
select id from emp where salary = '1800' order by id
select id from emp where numb in (1.5, 100) order by id
select id from emp where numb between 1 and 2 order by id
select max(numb), min(numb), count(distinct numb) from emp
~ select numb::text, numb::int8 from emp where id <> 2 order by id
select big::numeric / 7, id::numeric from emp where id < 3 order by id
select salary::float8, salary::int, score::numeric(10, 2) from emp where id < 3 order by id
select at at time zone 'Europe/Berlin', local at time zone 'Asia/Tokyo' from emp order by id
select doc || '{"z": 1}' from emp where id = 1
select to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'), to_char(salary, '9999.99') from emp order by id
select age(at, timestamptz '1999-01-01 00:00+00') from emp order by id
~ select case when ok then salary else 0 end, case id when 1 then 1.5 else 2 end from emp order by id
select x from (values (interval '1 day'), (interval '30 hours'), (interval '1 mon')) v(x) order by x desc
!22003 select greatest(salary, 2000), least(score, 1.0) from emp where id < 4 order by id
with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select * from z left join a using (k) order by id
with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select k, id, n from z left join a using (k) order by id
with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select k, id, n from a left join z using (k) order by n
with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select * from z join a using (k)
!0A000 with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select k, id, n from a right join z using (k) order by id
!0A000 with z(id, k) as (values (1, 'a'), (2, 'b')), a(k, n) as (values ('a', 10), ('c', 30)) select * from a natural left join z order by n
~ select e.*, dname from emp e left join dept using (dept) order by id
select * from dept join emp using (dept) where id < 3 order by id
